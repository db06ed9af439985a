"""A writer is killed at its Nth write or sync: the store opens, is sound, and nothing is half.

strace counts the system calls and sends the signal, so that each point is the same every time.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleetmdm.device import Device, encode_facts
from fleetmdm.policy import Combine, CompliancePolicy, Group, Position
from fleetmdm.results import Status
from fleetmdm.store.codec import encode_stamp
from fleetmdm.store.migrations import load_migrations
from fleetmdm.store.sqlite import SqliteStore, open_store

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("store_worker.py")
_WORK = runpy.run_path(str(WORKER))
BATCH, NOW = _WORK["BATCH"], _WORK["NOW"]
batch, batch_size = _WORK["batch"], _WORK["batch_size"]
verdicts, restored = _WORK["verdicts"], _WORK["restored"]
record, judge = _WORK["check"], _WORK["judge"]

CALLS = "pwrite64,fdatasync,fsync,ftruncate,unlink,rename"
POINTS = 20
LAST = 3
"""Ingests, or checks, of one worker."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one batch of devices and one policy."""
    path = tmp_path_factory.mktemp("crash") / "fleet.db"
    check = Group("checks", Combine.ALL, (), Position(1, 1))
    policy = CompliancePolicy("p", "p", check, b"p", hashlib.sha256(b"p").hexdigest())
    with closing(open_store(path, create=True, now=NOW)) as store:
        store.put_devices(batch(0), now=NOW)
        store.put_policies([policy], now=NOW)
    return path


@pytest.fixture(scope="module")
def new_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same devices, never judged: the run that packs its rows is killed too."""
    path = tmp_path_factory.mktemp("new") / "fleet.db"
    with closing(open_store(path, create=True, now=NOW)) as store:
        store.put_devices(batch(0), now=NOW)
    return path


@pytest.fixture(scope="module")
def old_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same devices in a database of version 1."""
    path = tmp_path_factory.mktemp("old") / "fleet.db"
    open_store(path, create=True, now=NOW, migrations=load_migrations()[:1]).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO sources VALUES (1, 'document')")
        for number, device in enumerate(batch(0), 1):
            connection.execute("INSERT INTO device_names VALUES (?, ?)", (number, device.device_id))
            connection.execute(
                "INSERT INTO documents VALUES (?, 1, 1, NULL, ?, ?)",
                (number, bytes(32), encode_facts(replace(device, serial=f"S{number}"))),
            )
            connection.execute(
                "INSERT INTO sightings VALUES (?, 1, 1, NULL, ?)",
                (number, encode_stamp(device.last_seen)),
            )
        connection.commit()
    return path


@pytest.fixture(scope="module")
def long_fleet(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same fleet after some runs, each with documents and a policy of its own."""
    path = tmp_path_factory.mktemp("long") / "fleet.db"
    shutil.copy(fleet, path)
    with closing(open_store(path, now=NOW)) as store:
        for run_id in range(1, LAST + 3):
            store.put_devices((aged(device, run_id) for device in batch(0)), now=NOW)
            source = b"p%d" % run_id
            check = Group("checks", Combine.ALL, (), Position(1, 1))
            digest = hashlib.sha256(source).hexdigest()
            store.put_policies([CompliancePolicy("p", "p", check, source, digest)], now=NOW)
            record(store, run_id)
    return path


def aged(device: Device, run_id: int) -> Device:
    return replace(device, facts={**device.facts, "run": run_id})


def work(path: Path, action: str, *tracer: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*tracer, sys.executable, WORKER, path, action, "1", str(LAST)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": os.environ["PATH"],
            # Or the first worker would rename files that the next ones find there.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def moments(strace: str, path: Path, action: str, points: int) -> list[tuple[str, int]]:
    """(system call, its number) of `points` moments, spread evenly over the whole work."""
    log = path.with_name("calls")
    done = work(path, action, strace, "-o", str(log), "-e", f"trace={CALLS}")
    assert done.returncode == 0, done.stderr
    # strace numbers each kind of call by itself.
    seen: Counter[str] = Counter()
    every = []
    for line in log.read_text().splitlines():
        call = line.partition("(")[0]
        if call in CALLS.split(","):
            seen[call] += 1
            every.append((call, seen[call]))
    assert len(every) > POINTS
    chosen = every[:: max(1, len(every) // points)][:points] + every[-1:]
    return list(dict.fromkeys(chosen))


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(POINTS, marks=pytest.mark.timeout(900)),
        pytest.param(10 * POINTS, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.parametrize("action", ["ingest", "check", "judge", "migrate", "prune", "restore"])
def test_a_killed_writer_leaves_a_sound_store(  # noqa: PLR0917 - fixtures, by name
    action: str,
    points: int,
    fleet: Path,
    old_fleet: Path,
    long_fleet: Path,
    new_fleet: Path,
    tmp_path: Path,
    require_program: Callable[[str], str],
) -> None:
    strace = require_program("strace")
    others = {"migrate": old_fleet, "prune": long_fleet, "judge": new_fleet}
    fleet = others.get(action, fleet)
    counted = tmp_path / "counted.db"
    shutil.copy(fleet, counted)
    for call, number in moments(strace, counted, action, points):
        path = tmp_path / f"{call}-{number}.db"
        shutil.copy(fleet, path)
        kill = f"inject={call}:signal=SIGKILL:when={number}"
        tracer = (strace, "-o", "/dev/null", "-e", f"trace={call}", "-e", kill)
        done = work(path, action, *tracer)
        assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, path.name
        acknowledged = [int(line) for line in done.stdout.split()]
        with closing(open_store(path, now=NOW)) as store:
            assert list(store.find_problems()) == [], path.name
            CHECKS[action](store, acknowledged, path)
            # And it can be written to at once.
            store.append_leaf(b"after")


def check_ingested(store: SqliteStore, acknowledged: list[int], _path: Path) -> None:
    found = Counter(device.facts["batch"] for device in store.devices())
    assert found == {number: batch_size(number) for number in found}
    assert {0, *acknowledged} <= set(found)
    assert len(found) <= len(acknowledged) + 2


def check_recorded(store: SqliteStore, acknowledged: list[int], _path: Path) -> None:
    runs = sorted(run.run_id for run in store.runs())
    assert runs == list(range(1, len(runs) + 1))
    assert len(acknowledged) <= len(runs) <= len(acknowledged) + 1
    assert len(list(store.leaves())) == len(runs)
    for run_id in runs:
        expected = [one.device_id for one in verdicts(run_id) if one.status is Status.FAIL]
        rows = list(store.results(run_id))
        assert [row.device_id for row in rows] == expected
        assert {row.findings[0].observed for row in rows} == {run_id}
        assert sum(1 for _ in store.run_devices(run_id)) == BATCH


def check_judged(store: SqliteStore, acknowledged: list[int], _path: Path) -> None:
    runs = sorted(run.run_id for run in store.runs())
    assert runs == list(range(1, len(runs) + 1))
    assert len(acknowledged) <= len(runs) <= 1 + len(acknowledged)
    # What the next run builds on is what one finds that builds on nothing.
    quick, full = judge(store, LAST), judge(store, LAST, full=True)
    assert quick.counts == full.counts
    assert quick.result_root == full.result_root
    assert quick.inventory_root == full.inventory_root
    assert not list(store.transitions(quick.run_id, full.run_id))
    assert list(store.find_problems()) == []


def check_migrated(store: SqliteStore, _acknowledged: list[int], path: Path) -> None:
    assert store.device_count() == BATCH
    serials = store._connection.execute("SELECT count(*) FROM serials").fetchone()
    assert serials == (BATCH,)
    # A backup bears its name only when it is whole, and no migration is without one.
    (backup,) = path.parent.glob(f"{path.name}.v1-*.backup")
    check_whole(backup)


def check_pruned(store: SqliteStore, acknowledged: list[int], _path: Path) -> None:
    kept = sorted(run.run_id for run in store.runs())
    gone = LAST + 2 - len(kept)
    assert kept == list(range(gone + 1, LAST + 3))
    assert len(acknowledged) <= gone <= len(acknowledged) + 1
    assert Counter(json.loads(leaf)["type"] for leaf in store.leaves()) == Counter(
        run=LAST + 2, prune=gone
    )
    for run_id in kept:
        expected = [one.device_id for one in verdicts(run_id) if one.status is Status.FAIL]
        assert [row.device_id for row in store.results(run_id)] == expected
        judged = list(store.run_devices(run_id))
        assert (len(judged), {one.facts["run"] for one in judged}) == (BATCH, {run_id})
        assert dict(store.run_policies(run_id)) == {"p": b"p%d" % run_id}
    # What no run that stays needs is gone: also what was there before the first.
    documents = store._connection.execute("SELECT count(*) FROM documents").fetchone()
    assert documents == (BATCH * (len(kept) + (not gone)),)


def check_restored(store: SqliteStore, acknowledged: list[int], path: Path) -> None:
    assert store.device_count() == BATCH
    for number in range(1, LAST + 1):
        target = restored(path, number)
        assert target.exists() or number not in acknowledged
        if target.exists():
            check_whole(target)


def check_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (BATCH,)
    with closing(open_store(path, now=NOW)) as store:
        assert list(store.find_problems()) == []


CHECKS = {
    "ingest": check_ingested,
    "check": check_recorded,
    "judge": check_judged,
    "migrate": check_migrated,
    "prune": check_pruned,
    "restore": check_restored,
}


def test_writers_at_the_same_time_all_get_through(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    shutil.copy(fleet, path)
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    tasks = [("ingest", "1", "4"), ("ingest", "5", "8"), ("check", "1", "3"), ("check", "1", "3")]
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, path, *task],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for task in tasks
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors.decode()
    with closing(open_store(path, now=NOW)) as store:
        assert list(store.find_problems()) == []
        assert store.device_count() == sum(map(batch_size, range(9)))
        assert [run.run_id for run in store.runs()] == [6, 5, 4, 3, 2, 1]
        assert len(list(store.leaves())) == 6
