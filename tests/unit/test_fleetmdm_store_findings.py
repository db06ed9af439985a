"""Findings in the store: each text once, brought forward from older databases, forgotten in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Finding, Status
from fleetmdm.store.codec import encode_findings
from fleetmdm.store.migrations import load_migrations
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WITHOUT_NUMBERS = 5
"""The last version in which every result had its findings written out."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "fleet.db", create=True, now=NOW)
    opened._connection.execute("PRAGMA synchronous = OFF")
    source = b"id: p\nname: P\nchecks: [{key: x, op: gt, value: 9}]\n"
    opened.put_policies([parse_policy(source, name="p")], now=NOW)
    yield opened
    opened.close()


def check(store: SqliteStore, *values: int) -> int:
    """Give devices their facts, and judge them."""
    devices = [
        Device(f"d{number}", "h", "linux", "12", None, NOW, {"x": value})
        for number, value in enumerate(values)
    ]
    store.put_devices(devices, now=NOW)
    new = NewRun(started_at=NOW, as_of=NOW, tool_version="0")
    return record_run(store, new, clock=lambda: NOW).run.run_id


def kept(store: SqliteStore) -> int:
    count: int = store._connection.execute("SELECT count(*) FROM findings").fetchone()[0]
    return count


def observed(store: SqliteStore, run_id: int) -> list[object]:
    return [row.findings[0].observed for row in store.results(run_id)]


def test_a_text_is_kept_once_whoever_it_is_found_on(store: SqliteStore) -> None:
    first = check(store, 1, 1, 2, 1)
    assert kept(store) == 2
    second = check(store, 3, 1, 2, 2)
    assert kept(store) == 3
    assert observed(store, first) == [1, 1, 2, 1]
    assert observed(store, second) == [3, 1, 2, 2]
    assert not list(store.find_problems())


def test_what_no_result_names_goes_with_the_runs_that_are_pruned(store: SqliteStore) -> None:
    first = check(store, 1, 2)
    second = check(store, 3, 2)
    store.prune_runs([first], now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
    # A line of failures keeps its beginning, and what was found then.
    assert kept(store) == 3
    third = check(store, 10, 2)
    store.prune_runs([second], now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
    assert kept(store) == 1
    assert observed(store, third) == [2]
    assert not list(store.find_problems())


def test_doctor_misses_findings_that_are_gone(store: SqliteStore) -> None:
    check(store, 1, 2)
    store._connection.execute("DELETE FROM findings WHERE number = 1")
    assert "1 results name findings that are gone" in list(store.find_problems())


def test_a_database_that_wrote_findings_out_is_brought_forward(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    older = load_migrations()[:WITHOUT_NUMBERS]
    open_store(path, create=True, now=NOW, migrations=older).close()
    texts = [
        encode_findings((Finding("checks[0]", "x", "gt", 9, n, "mismatch", "m"),)) for n in "ab"
    ]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        fill_without_numbers(connection, texts)
    with closing(open_store(path, now=NOW)) as store:
        assert [row.device_id for row in store.results(1)] == ["d0", "d1", "d2"]
        assert observed(store, 1) == ["a", "b", "a"]
        assert [row.status for row in store.intervals()] == [Status.FAIL] * 3
        assert kept(store) == len(texts)
        assert not [one for one in store.find_problems() if "ledger" not in one]
    (backup,) = tmp_path.glob(f"fleet.db.v{WITHOUT_NUMBERS}-*.backup")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT findings FROM results").fetchall()[1] == (texts[1],)


def fill_without_numbers(connection: sqlite3.Connection, texts: list[bytes]) -> None:
    """A run over three devices as that version wrote it."""
    stamp = "2026-03-01T12:00:00.000000+00:00"
    connection.execute("INSERT INTO policy_names VALUES (1, 'p')")
    connection.execute("INSERT INTO leaves VALUES (0, x'00')")
    connection.execute(
        "INSERT INTO runs VALUES (1, ?, ?, ?, 1, 3, 1, '{}', '{}', '0', '', '', '', 0, 0, 0, 0, 2)",
        (stamp, stamp, stamp),
    )
    for number, text in enumerate([texts[0], texts[1], texts[0]], 1):
        connection.execute("INSERT INTO device_names VALUES (?, ?)", (number, f"d{number - 1}"))
        connection.execute(
            "INSERT INTO results VALUES (?, 1, 1, NULL, 'fail', ?, NULL)", (number, text)
        )
