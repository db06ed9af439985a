"""A database of every earlier schema version: opened, it is backed up, and nothing of it is lost."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device, encode_facts
from fleetmdm.engines.local import record_run
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Finding, Run, Status
from fleetmdm.store.codec import encode_findings, encode_stamp
from fleetmdm.store.migrations import load_migrations
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DEVICES = 20
POLICY = b"id: p\nname: P\nchecks: [{key: x, op: gt, value: 9}]\n"
MIGRATIONS = load_migrations()
SERIALS, FINDINGS = 2, 6
"""The versions that keep serials apart, and findings by number."""

DEVICES_OF_OLD = [
    Device(f"d{number:02}", "h", "linux", "12", f"S{number}", NOW, {"x": number})
    for number in range(1, DEVICES + 1)
]
FAILING = [device.device_id for device in DEVICES_OF_OLD if device.facts["x"] <= 9]
OLD_RUN = Run(
    run_id=1,
    started_at=NOW,
    finished_at=NOW,
    as_of=NOW,
    devices=DEVICES,
    policies=1,
    counts={Status.PASS: DEVICES - len(FAILING), Status.FAIL: len(FAILING)},
    tool_version="0",
    policy_set_hash="a",
    inventory_root="b",
    result_root="c",
    policy_counts={"p": {Status.PASS: DEVICES - len(FAILING), Status.FAIL: len(FAILING)}},
)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_forward_whole(tmp_path: Path, version: int) -> None:
    path = tmp_path / "fleet.db"
    open_store(path, create=True, now=NOW, migrations=MIGRATIONS[:version]).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        fill(connection, version)
    with closing(open_store(path, now=LATER)) as store:
        assert_old_content(store)
        assert_goes_on(store)
        assert list(store.find_problems()) == []
    (backup,) = tmp_path.glob("*.backup")
    assert backup.name.startswith(f"fleet.db.v{version}-")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
    with closing(open_store(backup, now=LATER)) as store:
        assert_old_content(store)


def fill(connection: sqlite3.Connection, version: int) -> None:
    """Devices, a policy and a run, as that version wrote them."""
    connection.execute("INSERT INTO sources VALUES (1, 'document')")
    connection.execute("INSERT INTO policy_names VALUES (1, 'p')")
    digest = hashlib.sha256(POLICY).digest()
    connection.execute("INSERT INTO policies VALUES (1, 1, NULL, ?, ?)", (digest, POLICY))
    for number, device in enumerate(DEVICES_OF_OLD, 1):
        facts = encode_facts(device)
        row = (number, hashlib.sha256(facts).digest(), facts)
        connection.execute("INSERT INTO device_names VALUES (?, ?)", (number, device.device_id))
        connection.execute("INSERT INTO documents VALUES (?, 1, 1, NULL, ?, ?)", row)
        seen = (number, encode_stamp(device.last_seen))
        connection.execute("INSERT INTO sightings VALUES (?, 1, 1, NULL, ?)", seen)
        if version >= SERIALS:
            connection.execute("INSERT INTO serials VALUES (?, 1, ?)", (number, device.serial))
    fill_run(connection)
    fill_results(connection, version)


def fill_run(connection: sqlite3.Connection) -> None:
    counts = {status.value: count for status, count in OLD_RUN.counts.items()}
    connection.execute("INSERT INTO leaves VALUES (0, ?)", (encode_run_leaf(OLD_RUN),))
    stamp = encode_stamp(NOW)
    connection.execute(
        "INSERT INTO runs (run, started_at, finished_at, as_of, revision, devices, policies,"
        " counts, policy_counts, tool_version, policy_set_hash, inventory_root, result_root, leaf)"
        " VALUES (1, ?, ?, ?, 1, ?, 1, ?, ?, '0', 'a', 'b', 'c', 0)",
        (stamp, stamp, stamp, DEVICES, json.dumps(counts), json.dumps({"p": counts})),
    )


def fill_results(connection: sqlite3.Connection, version: int) -> None:
    for device in DEVICES_OF_OLD:
        number = device.facts["x"]
        if device.device_id not in FAILING:
            continue
        finding = Finding("checks[0]", "x", "gt", 9, number, "mismatch", "m")
        found: bytes | int | None = encode_findings((finding,))
        if version >= FINDINGS:
            found = connection.execute("INSERT INTO findings (data) VALUES (?)", (found,)).lastrowid
        row = (number, found)
        connection.execute("INSERT INTO results VALUES (?, 1, 1, NULL, 'fail', ?, NULL)", row)


def assert_old_content(store: SqliteStore) -> None:
    assert list(store.devices()) == DEVICES_OF_OLD
    assert list(store.policy_sources()) == [("p", POLICY)]
    assert [run.counts for run in store.runs()] == [OLD_RUN.counts]
    rows = list(store.results(1))
    assert [row.device_id for row in rows] == FAILING
    assert [row.findings[0].observed for row in rows] == list(range(1, len(FAILING) + 1))
    assert list(store.leaves()) == [encode_run_leaf(OLD_RUN)]
    assert list(store.serial_conflicts()) == []


def assert_goes_on(store: SqliteStore) -> None:
    """Documents, policies and runs come as to any other database."""
    changed = Device("d01", "h", "linux", "12", "S2", LATER, {"x": 10})
    counts = store.put_devices([changed, *DEVICES_OF_OLD[1:]], now=LATER)
    assert (counts.changed, counts.unchanged) == (1, DEVICES - 1)
    assert [one.device_ids for one in store.serial_conflicts()] == [("d01", "d02")]
    quick, full = judge(store, full=False), judge(store, full=True)
    assert quick.counts == full.counts == {Status.PASS: 12, Status.FAIL: 8}
    assert (quick.result_root, quick.inventory_root) == (full.result_root, full.inventory_root)
    assert [row.device_id for row in store.results(full.run_id)] == FAILING[1:]
    assert [row.device_id for row in store.results(1)] == FAILING
    store.put_policies([parse_policy(POLICY.replace(b"9", b"0"), name="p")], now=LATER)
    assert judge(store, full=False).counts == {Status.PASS: DEVICES}
    store.prune_runs([1], now=LATER, leaf=lambda _removed: b'{"type":"prune"}')
    assert [run.run_id for run in store.runs()] == [4, 3, 2]


def judge(store: SqliteStore, *, full: bool) -> Run:
    new = NewRun(started_at=LATER, as_of=LATER, tool_version="0")
    return record_run(store, new, clock=lambda: LATER, full=full, workers=1).run
