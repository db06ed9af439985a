"""Checks over several blocks of devices: what is judged again, from where, and what is written."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.engines.local import ask, record_run
from fleetmdm.engines.pool import choose_workers
from fleetmdm.evaluate import Evaluator, compile_policies
from fleetmdm.policy_yaml import parse_policies, parse_policy
from fleetmdm.policy_yaml.form import FORM_VERSION
from fleetmdm.results import Run
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from fleetmdm.store.sqlite.recording.changed import MAX_ITEMS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICIES = parse_policies(
    b"id: a\nname: A\nchecks: [{key: n, op: lt, value: 8000}]\n---\n"
    b"id: b\nname: B\nchecks: [{key: seen, op: within, value: 14d}]\n",
    name="p",
)
COUNT = 10_000


def device(number: int, **facts: object) -> Device:
    seen = (NOW - timedelta(days=number % 14)).isoformat().replace("+00:00", "Z")
    found = {"n": number, "seen": seen, "few": number % 3, **facts}
    return Device(f"d{number:05}", "h", "linux", "12", None, NOW, found)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "fleet.db", create=True, now=NOW)
    opened._connection.execute("PRAGMA synchronous = OFF")
    opened.put_devices([device(number) for number in range(COUNT)], now=NOW)
    opened.put_policies(POLICIES, now=NOW)
    yield opened
    opened.close()


def check(
    store: SqliteStore, *, full: bool = False, days: int = 0, workers: int = 1
) -> tuple[Run, int]:
    judged: list[int] = []
    new = NewRun(started_at=NOW, as_of=NOW + timedelta(days=days), tool_version="0")
    run = record_run(
        store, new, clock=lambda: NOW, advance=judged.append, full=full, workers=workers
    ).run
    return run, sum(judged)


def same(one: Run, other: Run) -> bool:
    return replace(one, run_id=0) == replace(other, run_id=0)


def test_nothing_is_judged_where_nothing_changed(store: SqliteStore) -> None:
    first, judged = check(store)
    assert judged == COUNT
    before = store._connection.total_changes
    again, judged = check(store)
    assert judged == 0
    assert same(first, again)
    written = store._connection.total_changes - before
    assert written <= 5
    assert same(first, check(store, full=True)[0])


def test_only_what_changed_is_judged(store: SqliteStore) -> None:
    check(store)
    store.put_devices([device(7, n=19_999), device(9600, n=None)], now=NOW)
    store.retire_device("d00100", now=NOW)
    run, judged = check(store)
    assert judged == 2
    assert run.devices == COUNT - 1
    assert same(run, check(store, full=True)[0])


def test_time_alone_brings_up_what_it_can_change(store: SqliteStore) -> None:
    check(store)
    later, judged = check(store, days=2)
    assert COUNT // 15 < judged < COUNT // 13
    assert same(later, check(store, full=True, days=2)[0])
    earlier, judged = check(store, days=-1)
    assert judged == COUNT
    assert same(earlier, check(store, full=True, days=-1)[0])


def test_a_block_of_which_much_changed_is_read_and_kept_anew(store: SqliteStore) -> None:
    check(store)
    store.put_devices([device(number, n=5) for number in range(0, COUNT, 3)], now=NOW)
    run, judged = check(store)
    assert COUNT * 3 // 4 < judged < COUNT
    assert same(run, check(store, full=True)[0])
    assert not list(store.find_problems())


def test_devices_that_are_only_seen_again_are_not_judged(store: SqliteStore) -> None:
    first, _ = check(store)
    later = NOW + timedelta(hours=1)
    store.put_devices([replace(device(n), last_seen=later) for n in range(0, COUNT, 2)], now=later)
    run, judged = check(store)
    assert judged == 0
    assert run.inventory_root != first.inventory_root
    assert run.result_root == first.result_root
    assert same(run, check(store, full=True)[0])


def test_a_full_check_makes_findings_only_where_something_is_otherwise(store: SqliteStore) -> None:
    first, _ = check(store)
    rows = list(store.results(first.run_id))
    assert packed_anew(store, days=0) == set()
    assert packed_anew(store, days=0, tool_version="1") == {1, 2, 3}
    store.put_devices([device(5, n=19_999)], now=NOW)
    assert packed_anew(store, days=0) == {1}
    assert packed_anew(store, days=2) == {1, 2, 3}
    run, _ = check(store, full=True)
    assert len(list(store.results(run.run_id))) == len(rows) + 1


def packed_anew(store: SqliteStore, *, days: int, tool_version: str = "0") -> set[int | None]:
    """Blocks of which a full check that would be made now makes rows."""
    new = NewRun(NOW, NOW + timedelta(days=days), tool_version)
    with store.begin_run(new) as writer:
        programs = compile_policies(writer.policies())
        writer.plan(ask(programs, (), None, new), full=True)
        judge = Evaluator(programs, new.as_of).judge
        packed = [writer.do(task, judge) for task in writer.tasks()]
    return {one.task.block for one in packed if one.rows is not None}


def beside(store: SqliteStore) -> int:
    """Rows of changes that are kept beside the blocks."""
    sql = "SELECT count(*) FROM judged_changes"
    count: int = store._connection.execute(sql).fetchone()[0]
    return count


def test_few_changes_are_kept_beside_the_blocks_until_they_are_many(store: SqliteStore) -> None:
    check(store)
    rows = []
    for n in range(5):
        store.put_devices([device(400 * n + at, n=20_000 + n) for at in range(480)], now=NOW)
        run, judged = check(store)
        assert judged == 480
        rows.append(beside(store))
        assert not list(store.find_problems())
    # The fourth time, what changed of the three blocks is more than an eighth of these.
    assert rows == [1, 2, 3, 0, 1]
    later = NOW + timedelta(hours=1)
    gone = {f"d{number:05}" for number in range(50, 60)}
    store.put_devices([replace(device(3, n=20_000), last_seen=later)], now=later)
    for name in gone:
        store.retire_device(name, now=later)
    run, _ = check(store)
    assert beside(store) == 2
    assert same(run, check(store, full=True)[0])
    assert beside(store) == 0
    assert not list(store.find_problems())


@pytest.mark.parametrize("seen", [3, 4400])
def test_devices_seen_again_stand_beside_those_that_are_judged(
    store: SqliteStore, seen: int
) -> None:
    # So that a device which was seen again is due by time as well.
    check(store)
    later = NOW + timedelta(hours=1)
    store.put_devices([replace(device(2 * at), last_seen=later) for at in range(seen)], now=later)
    store.put_devices([device(1, n=9), replace(device(9204, n=9), last_seen=later)], now=later)
    store.retire_device("d00003", now=later)
    run, _ = check(store, days=1)
    assert beside(store) == (seen == 3)
    assert not list(store.find_problems())
    assert same(run, check(store, full=True, days=1)[0])
    assert not list(store.find_problems())
    run, judged = check(store, days=1)
    assert judged == 0
    assert same(run, check(store, full=True, days=1)[0])


def test_many_rows_of_changes_become_one(store: SqliteStore) -> None:
    check(store)
    for n in range(MAX_ITEMS + 1):
        store.put_devices([device(n % 7, n=12_000 + n)], now=NOW)
        run, _ = check(store)
    assert beside(store) == 1
    assert not list(store.find_problems())
    assert same(run, check(store, full=True)[0])


def judged_under(store: SqliteStore) -> list[frozenset[str] | None]:
    """Of a run that would be made now: for each task, the policies that it asks, None for all."""
    with store.begin_run(NewRun(started_at=NOW, as_of=NOW, tool_version="0")) as writer:
        programs = compile_policies(writer.policies())
        writer.plan(ask(programs, (), None, NewRun(NOW, NOW, "0")))
        return [task.policies for task in writer.tasks()]


def test_another_policy_is_all_that_is_judged(store: SqliteStore) -> None:
    check(store)
    store.put_policies([parse_policy(OTHER, name="p")], now=NOW)
    assert judged_under(store) == [frozenset("a")] * 3
    run, judged = check(store)
    assert judged == COUNT
    assert same(run, check(store, full=True)[0])
    store.put_devices([device(6000, n=1)], now=NOW)
    store.remove_policy("a", now=NOW)
    store.put_policies([parse_policy(OTHER.replace(b"id: a", b"id: c"), name="p")], now=NOW)
    assert judged_under(store) == [None, frozenset("c"), frozenset("c")]
    run, _ = check(store, workers=2)
    assert same(run, check(store, full=True)[0])
    store.remove_policy("b", now=NOW)
    assert judged_under(store) == [frozenset()] * 3
    run, _ = check(store)
    assert same(run, check(store, full=True)[0])
    assert not list(store.find_problems())


def test_a_block_that_has_no_device_left_follows_the_policies(store: SqliteStore) -> None:
    check(store)
    for number in range(4096, COUNT):
        store.retire_device(f"d{number:05}", now=NOW)
    check(store)
    store.remove_policy("a", now=NOW)
    run, _ = check(store)
    assert not list(store.find_problems())
    assert same(run, check(store)[0])
    assert same(run, check(store, full=True)[0])


def test_several_processes_find_what_one_finds(store: SqliteStore) -> None:
    first, judged = check(store, workers=2)
    assert judged == COUNT
    store.put_devices([device(7, n=19_999), device(9600, n=None)], now=NOW)
    again, judged = check(store, full=True, workers=2)
    assert judged == COUNT
    assert same(again, check(store, full=True)[0])
    assert len(list(store.results(first.run_id))) == COUNT - 8000
    changed = {row.device_id for row in store.intervals(first_run=again.run_id)}
    assert {"d00007", "d09600"} <= changed


def test_a_run_broken_off_ends_its_processes(store: SqliteStore) -> None:
    def stop(_count: int) -> None:
        raise KeyboardInterrupt

    new = NewRun(started_at=NOW, as_of=NOW, tool_version="0")
    with pytest.raises(KeyboardInterrupt):
        record_run(store, new, clock=lambda: NOW, advance=stop, workers=2)
    assert not list(store.runs())
    assert not multiprocessing.active_children()


def test_a_killed_process_is_replaced_by_this_one(store: SqliteStore) -> None:
    def kill(_count: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    new = NewRun(started_at=NOW, as_of=NOW, tool_version="0")
    run = record_run(store, new, clock=lambda: NOW, advance=kill, workers=2).run
    assert same(run, check(store, full=True)[0])


@pytest.mark.parametrize(
    ("wanted", "tasks", "some"), [(1, 1000, False), (2, 1, True), (0, 1, False), (0, 9, False)]
)
def test_processes_are_started_where_they_pay(wanted: int, tasks: int, *, some: bool) -> None:
    assert (choose_workers(wanted, tasks) > 0) is some


def test_a_run_that_is_overtaken_judges_everything(store: SqliteStore, tmp_path: Path) -> None:
    check(store)
    store.put_devices([device(7, n=19_999)], now=NOW)
    other = open_store(tmp_path / "fleet.db", now=NOW)
    judged: list[int] = []

    def advance(count: int) -> None:
        if not judged:
            other.put_devices([device(8, n=19_999)], now=NOW)
            check(other)
        judged.append(count)

    new = NewRun(started_at=NOW, as_of=NOW, tool_version="0")
    run = record_run(store, new, clock=lambda: NOW, advance=advance).run
    other.close()
    assert (judged[0], sum(judged[1:]), run.run_id) == (1, COUNT, 3)
    assert same(run, check(store, full=True)[0])


def test_a_policy_is_read_from_its_source_once(store: SqliteStore) -> None:
    first, _ = check(store)
    kept = store._connection.execute("SELECT count(*), min(version) FROM policy_forms").fetchone()
    assert kept == (2, FORM_VERSION)
    assert store.policies() == tuple(parse_policy(one.source, name="p") for one in POLICIES)
    assert [one.id for one in store.policies(["b", "c"])] == ["b"]
    assert store.policies_of_run(first.run_id) == store.policies()
    # A form of another version is not read, and is made again.
    store._connection.execute("UPDATE policy_forms SET version = 0, form = x'00'")
    assert same(first, check(store)[0])
    assert not list(store.find_problems())
    store.put_policies([parse_policy(OTHER, name="p")], now=NOW)
    check(store)
    old = [run.run_id for run in store.runs()][1:]
    store.prune_runs(old, now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
    check(store)
    assert store._connection.execute("SELECT count(*) FROM policy_forms").fetchone() == (2,)


OTHER = b"id: a\nname: A\nchecks: [{key: n, op: lt, value: 7999}]\n"


ALL_GONE = """
INSERT INTO first_gone SELECT block, CAST(replace(hex(zeroblob(4096)), '00', 'f') AS BLOB)
FROM first_results
"""


OTHER_CELLS = """
UPDATE fact_columns SET cells = (
    SELECT cells FROM fact_columns WHERE name LIKE '%few%' AND block = 1
) WHERE name LIKE '%"n"%' AND block = 1
"""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (OTHER_CELLS, "say otherwise"),
        ("UPDATE documents SET facts_hash = zeroblob(32) WHERE device = 4100", "say otherwise"),
        ("DELETE FROM first_results", "its rows"),
        (ALL_GONE, "its rows"),
        (
            "UPDATE judged_parts SET data = zeroblob(length(data)) WHERE part = 'results'",
            "not those of its verdicts",
        ),
        (
            "UPDATE judged_parts SET data = zeroblob(length(data)) WHERE part = 'inventory'",
            "not those of its documents",
        ),
        ("UPDATE judged_parts SET data = x'00' WHERE part = 'ends'", "cannot be read"),
        ("UPDATE policy_forms SET form = x'80'", "its source says"),
        ("UPDATE runs SET devices = devices + 1", "devices are kept"),
    ],
)
def test_doctor_compares_what_is_derived(store: SqliteStore, damage: str, said: str) -> None:
    check(store)
    assert not list(store.find_problems())
    store._connection.execute("PRAGMA foreign_keys = OFF")
    store._connection.execute(damage)
    assert said in "\n".join(store.find_problems())
