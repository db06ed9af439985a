"""What a store's first run finds: packed by block, told like rows, made into rows where it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.errors import FleetError
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import ResultRow, Status
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICIES = (
    b"id: b\nname: B\nchecks: [{key: x, op: gt, value: 9}]\n",
    b"id: a\nname: A\nchecks: [{key: seen, op: within, value: 9d}, {key: x, op: exists}]\n",
)
NAMES = ("d3", "d1", "d2")
"""Numbered in another order than their names have."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(open_store(path, create=True, now=NOW)) as opened:
        opened._connection.execute("PRAGMA synchronous = OFF")
        policies = [parse_policy(source, name="p") for source in POLICIES]
        opened.put_policies(policies, now=NOW)
        yield opened


def check(store: SqliteStore, *values: int, as_of: datetime = NOW, full: bool = False) -> int:
    """Give the devices their facts, and judge them."""
    seen = [{}, {"seen": "2026-02-01T00:00:00Z"}, {"seen": "2026-02-22T00:00:00Z"}]
    devices = [
        Device(name, "h", "linux", "12", None, NOW, {"x": value, **when})
        for name, value, when in zip(NAMES, values, seen, strict=False)
    ]
    store.put_devices(devices, now=NOW)
    new = NewRun(started_at=NOW, as_of=as_of, tool_version="0")
    return record_run(store, new, clock=lambda: NOW, full=full).run.run_id


def count(store: SqliteStore, table: str) -> int:
    return store.row_counts()[table]


def pairs(rows: Iterator[ResultRow]) -> list[str]:
    return [f"{row.device_id} {row.policy_id} {row.status}" for row in rows]


def test_rows_are_told_by_names_and_chosen_like_any_others(store: SqliteStore) -> None:
    run = check(store, 1, 2, 3)
    assert count(store, "results") == 0
    assert pairs(store.results(run)) == [
        "d1 a fail",
        "d1 b fail",
        "d2 b fail",
        "d3 a unknown",
        "d3 b fail",
    ]
    assert pairs(store.intervals()) == pairs(store.results(run))
    assert pairs(store.results(run, device_id="d1")) == ["d1 a fail", "d1 b fail"]
    assert pairs(store.results(run, device_id="d4")) == []
    assert pairs(store.results(run, policy_id="a")) == ["d1 a fail", "d3 a unknown"]
    unknown = frozenset({Status.UNKNOWN})
    assert pairs(store.results(run, statuses=unknown)) == ["d3 a unknown"]
    assert [row.findings[0].observed for row in store.results(run, policy_id="b")] == [2, 3, 1]
    assert pairs(store.intervals(last_run=0)) == []


@pytest.mark.parametrize("full", [False, True])
def test_what_ends_becomes_a_row_and_the_rest_stays(store: SqliteStore, *, full: bool) -> None:
    first = check(store, 1, 2, 3)
    before = list(store.results(first))
    second = check(store, 1, 10, 4, full=full)
    assert pairs(store.results(second)) == ["d1 a fail", "d2 b fail", "d3 a unknown", "d3 b fail"]
    # What d1 was, and what d2 is found with from then on.
    assert list(store.results(first)) == [
        row if row.policy_id == "a" or row.device_id == "d3" else ended
        for row, ended in zip(before, until(before, second), strict=True)
    ]
    assert [(one.device_id, one.before, one.after) for one in store.transitions(1, 2)] == [
        ("d1", Status.FAIL, None)
    ]
    # Two ended, and one of them began again.
    assert count(store, "results") == 3
    assert not list(store.find_problems())


def until(rows: list[ResultRow], run: int) -> list[ResultRow]:
    return [
        ResultRow(one.device_id, one.policy_id, one.status, one.findings, one.since_run, run)
        for one in rows
    ]


def test_blocks_of_which_nothing_counts_go_with_the_runs_that_are_pruned(
    store: SqliteStore,
) -> None:
    check(store, 1, 2, 3)
    later = NOW + timedelta(days=90)
    newest = check(store, 10, 10, 10, as_of=later)
    assert pairs(store.results(newest)) == ["d1 a fail", "d2 a fail", "d3 a unknown"]
    store.prune_runs([1], now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
    assert count(store, "first_results") == 1
    assert pairs(store.results(newest)) == ["d1 a fail", "d2 a fail", "d3 a unknown"]
    for name in NAMES:
        store.retire_device(name, now=NOW)
    store.put_devices([Device("d4", "h", "linux", "12", None, NOW, {"x": 10})], now=NOW)
    check(store, as_of=later)
    store.prune_runs([2], now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
    assert (count(store, "first_results"), count(store, "first_gone")) == (0, 0)
    assert [run.run_id for run in store.runs()] == [3]
    assert not list(store.find_problems())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE first_results SET rows = x'c0'",
        "UPDATE first_results SET rows = CAST(substr(rows, 1, length(rows) - 3) AS BLOB)",
        "UPDATE first_results SET rows = x'929090'",
        "INSERT INTO first_gone SELECT block, x'' FROM first_results",
    ],
)
def test_rows_that_cannot_be_read_are_damage(store: SqliteStore, path: Path, damage: str) -> None:
    run = check(store, 1, 2, 3)
    store._connection.execute(damage)
    with pytest.raises(FleetError) as caught:
        list(store.results(run))
    assert caught.value.code == "database_invalid"
    assert str(path) in caught.value.message
