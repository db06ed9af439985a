"""The SQLite store: what it keeps, what it leaves alone, what it refuses."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.policy import Combine, CompliancePolicy, Group, Position
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Finding, Run, Status, Transition, Verdict
from fleetmdm.store.migrations import Migration, load_migrations
from fleetmdm.store.port import (
    FleetStore,
    IngestCounts,
    NewRun,
    PopulationChange,
    Presence,
    RunHashes,
)
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FAILED = (Finding("checks[0]", "x", "eq", 1, {"y": [None, 2.5]}, "mismatch", "x is off"),)


def device(device_id: str, *, seen: datetime = NOW, **facts: Any) -> Device:
    return Device(device_id, "h", "linux", "12", None, seen, facts, ("prod",))


def policy(policy_id: str, source: bytes = b"---\n") -> CompliancePolicy:
    check = Group("checks", Combine.ALL, (), Position(1, 1))
    digest = hashlib.sha256(source).hexdigest()
    return CompliancePolicy(policy_id, policy_id, check, source, digest)


def read_policy(policy_id: str) -> CompliancePolicy:
    source = f"id: {policy_id}\nname: n\nchecks: [{{key: x, op: exists}}]\n"
    return parse_policy(source.encode(), name="p")


def record(store: FleetStore, *verdicts: Verdict) -> Run:
    with store.begin_run(NewRun(NOW, NOW, "0")) as run:
        run.add(verdicts)
        return run.finish(finished_at=NOW, hashes=RunHashes("aa", "bb", "cc"), leaf=encode_run_leaf)


def fails(device_id: str, policy_id: str = "p") -> Verdict:
    return Verdict(device_id, policy_id, Status.FAIL, FAILED)


def passes(device_id: str, policy_id: str = "p") -> Verdict:
    return Verdict(device_id, policy_id, Status.PASS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(open_store(path, create=True, now=NOW)) as opened:
        yield opened


def written_rows(store: SqliteStore) -> int:
    return store._connection.total_changes


def test_the_store_keeps_the_promises_of_its_port(store: SqliteStore) -> None:
    kept: FleetStore = store
    assert kept.device_count() == 0


def test_a_document_comes_back_as_it_went_in(store: SqliteStore) -> None:
    given = device("b", n=-(2**63), f=0.1, t="é\u2028", d={"list": [None, True]})
    counts = store.put_devices([given, device("a")], now=NOW)
    assert counts == IngestCounts(received=2, added=2)
    assert list(store.devices()) == [device("a"), given]
    assert list(store.devices(device_id="b")) == [given]
    assert list(store.devices(device_id="c")) == []


def test_the_same_document_twice_writes_nothing(store: SqliteStore) -> None:
    store.put_devices([device("a", x=1)], now=NOW)
    revisions = "SELECT count(*) FROM revisions"
    before = store._connection.execute(revisions).fetchone()
    assert store.put_devices([device("a", x=1)], now=NOW) == IngestCounts(received=1, unchanged=1)
    assert store._connection.execute(revisions).fetchone() == before


def test_each_document_has_its_fate(store: SqliteStore) -> None:
    store.put_devices([device(name, x=1) for name in "abcd"], now=NOW)
    counts = store.put_devices(
        [
            device("a", x=2),
            device("b", seen=NOW + DAY, x=1),
            device("c", seen=NOW - DAY, x=3),
            device("d", x=1),
            device("e", x=4),
            device("e", x=5),
            device("e", seen=NOW - DAY, x=6),
        ],
        now=NOW,
    )
    assert counts == IngestCounts(
        received=7, added=1, changed=1, refreshed=1, unchanged=1, older=1, duplicate=2
    )
    kept = {one.device_id: (one.facts["x"], one.last_seen) for one in store.devices()}
    assert kept == {
        "a": (2, NOW),
        "b": (1, NOW + DAY),
        "c": (1, NOW),
        "d": (1, NOW),
        "e": (5, NOW),
    }


def test_an_ingest_that_breaks_off_keeps_nothing(store: SqliteStore) -> None:
    def broken() -> Iterator[Device]:
        for number in range(2500):
            yield device(f"d{number}")
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError):
        store.put_devices(broken(), now=NOW)
    assert store.device_count() == 0
    assert store.put_devices([device("a")], now=NOW).added == 1


def test_others_read_and_write_while_a_source_is_slow(store: SqliteStore, path: Path) -> None:
    def slow() -> Iterator[Device]:
        yield from (device(f"d{number}") for number in range(2000))
        with closing(open_store(path, now=NOW, busy_timeout_s=0)) as other:
            assert other.device_count() == 0
            other.put_devices([device("other")], now=NOW)

    store.put_devices(slow(), now=NOW)
    assert store.device_count() == 2001


def test_a_retired_device_is_gone_and_may_come_back(store: SqliteStore) -> None:
    store.put_devices([device("a"), device("b")], now=NOW)
    store.retire_device("a", now=NOW)
    assert [one.device_id for one in store.devices()] == ["b"]
    with pytest.raises(FleetError) as caught:
        store.retire_device("a", now=NOW)
    assert caught.value.code == "device_not_found"
    assert store.put_devices([device("a")], now=NOW).added == 1


def test_policies_are_replaced_by_id_and_removed(store: SqliteStore) -> None:
    store.put_policies([policy("q"), policy("p", b"one")], now=NOW)
    store.put_policies([policy("p", b"two")], now=NOW)
    assert list(store.policy_sources()) == [("p", b"two"), ("q", b"---\n")]
    store.remove_policy("q", now=NOW)
    assert list(store.policy_sources()) == [("p", b"two")]
    with pytest.raises(FleetError) as caught:
        store.remove_policy("q", now=NOW)
    assert caught.value.code == "policy_not_found"


def test_a_run_keeps_what_it_judged(store: SqliteStore) -> None:
    store.put_devices([device("a", x=1)], now=NOW)
    store.put_policies([policy("p", b"one")], now=NOW)
    first = record(store, fails("a"))
    store.put_devices([device("a", x=2), device("b")], now=NOW + DAY)
    store.put_policies([policy("p", b"two"), policy("q")], now=NOW + DAY)
    assert list(store.run_devices(first.run_id)) == [device("a", x=1)]
    assert list(store.run_policies(first.run_id)) == [("p", b"one")]
    assert (first.devices, first.policies, first.counts) == (1, 1, {Status.FAIL: 1})
    assert store.run(first.run_id) == first
    second = record(store, fails("a"), passes("b"))
    assert list(store.population_changes(first.run_id, second.run_id)) == [
        PopulationChange("device", "b", Presence.NEW),
        PopulationChange("policy", "q", Presence.NEW),
    ]
    assert list(store.runs()) == [second, first]
    assert list(store.runs(limit=1)) == [second]


def test_a_run_judges_the_moment_it_began(store: SqliteStore, path: Path) -> None:
    store.put_devices([device("a", x=1)], now=NOW)
    store.put_policies([read_policy("p")], now=NOW)
    with store.begin_run(NewRun(NOW, NOW, "0")) as run:
        with closing(open_store(path, now=NOW, busy_timeout_s=0)) as other:
            other.put_devices([device("a", x=2), device("b")], now=NOW)
            other.remove_policy("p", now=NOW)
        assert [one.facts["x"] for one in run.devices()] == [1]
        assert run.device_count() == 1
        assert [one.id for one in run.policies()] == ["p"]
        run.add([fails("a")])
        done = run.finish(finished_at=NOW, hashes=RunHashes("a", "b", "c"), leaf=encode_run_leaf)
    assert list(store.run_devices(done.run_id)) == [device("a", x=1)]
    assert done.devices == 1


def test_runs_that_overlap_are_compared_with_the_one_that_ended_last(
    store: SqliteStore, path: Path
) -> None:
    store.put_devices([device("a"), device("b")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    record(store, fails("a"), passes("b"))

    def leaf(run: Run) -> bytes:
        return encode_run_leaf(run)

    with store.begin_run(NewRun(NOW, NOW, "0")) as slow:
        slow.add([fails("a"), passes("b")])
        with closing(open_store(path, now=NOW)) as other:
            record(other, passes("a"), fails("b"))
        last = slow.finish(finished_at=NOW, hashes=RunHashes("a", "b", "c"), leaf=leaf)
    assert last.run_id == 3
    assert [row.device_id for row in store.results(3)] == ["a"]
    assert [row.device_id for row in store.results(2)] == ["b"]


def test_a_run_that_is_left_without_finish_leaves_nothing(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    with store.begin_run(NewRun(NOW, NOW, "0")) as run:
        run.add([fails("a")])
    with pytest.raises(KeyError), store.begin_run(NewRun(NOW, NOW, "0")) as run:
        run.add([fails("a"), fails("nobody")])
    assert list(store.runs()) == []
    assert list(store.leaves()) == []
    assert record(store, fails("a")).run_id == 1


def test_a_run_in_which_nothing_changed_writes_a_constant_number_of_rows(
    store: SqliteStore,
) -> None:
    writes = []
    for size in (10, 400):
        names = [f"d{number}" for number in range(size)]
        store.put_devices([device(name) for name in names], now=NOW)
        store.put_policies([policy("p")], now=NOW)
        verdicts = [fails(name) for name in names]
        record(store, *verdicts)
        counts = "SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM runs)"
        rows, runs = store._connection.execute(counts).fetchone()
        record(store, *verdicts)
        assert store._connection.execute(counts).fetchone() == (rows, runs + 1)
        with store.begin_run(NewRun(NOW, NOW, "0")) as run:
            run.add(verdicts)
            staged = written_rows(store)
            run.finish(finished_at=NOW, hashes=RunHashes("", "", ""), leaf=encode_run_leaf)
            writes.append(written_rows(store) - staged)
    assert writes[0] == writes[1] <= 4


def test_a_verdict_that_only_lasts_longer_opens_no_interval(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    record(store, replace(fails("a"), valid_until=NOW + DAY))
    record(store, replace(fails("a"), valid_until=NOW + 2 * DAY))
    assert [(row.since_run, row.until_run) for row in store.results(2)] == [(1, None)]


def test_other_findings_open_an_interval_but_are_no_transition(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    record(store, fails("a"))
    record(store, replace(fails("a"), findings=()))
    assert [(row.since_run, row.findings) for row in store.results(1)] == [(1, FAILED)]
    assert [(row.since_run, row.findings) for row in store.results(2)] == [(2, ())]
    assert list(store.transitions(1, 2)) == []


def test_results_are_chosen_by_device_policy_and_status(store: SqliteStore) -> None:
    store.put_devices([device("a"), device("b")], now=NOW)
    store.put_policies([policy("p"), policy("q")], now=NOW)
    unknown = Verdict("b", "q", Status.UNKNOWN)
    record(store, fails("a"), passes("a", "q"), fails("b"), unknown)
    rows = [(row.device_id, row.policy_id) for row in store.results(1)]
    assert rows == [("a", "p"), ("b", "p"), ("b", "q")]
    assert [row.policy_id for row in store.results(1, device_id="b")] == ["p", "q"]
    assert [row.device_id for row in store.results(1, policy_id="p")] == ["a", "b"]
    chosen = store.results(1, statuses=frozenset({Status.UNKNOWN}))
    assert [row.status for row in chosen] == [Status.UNKNOWN]


def test_intervals_are_those_that_touch_the_runs_asked_for(store: SqliteStore) -> None:
    store.put_devices([device("a"), device("b")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    record(store, fails("a"), passes("b"))
    record(store, passes("a"), fails("b"))
    record(store, fails("a"), fails("b"))

    def found(**choice: Any) -> list[tuple[str, int, int | None]]:
        rows = store.intervals(**choice)
        return [(row.device_id, row.since_run, row.until_run) for row in rows]

    assert found() == [("a", 3, None), ("b", 2, None), ("a", 1, 2)]
    assert found(first_run=2, last_run=2) == [("b", 2, None)]
    assert found(last_run=1) == [("a", 1, 2)]
    assert found(device_id="a", first_run=2) == [("a", 3, None)]
    assert found(policy_id="q") == found(statuses=frozenset({Status.ERROR})) == []


def test_transitions_read_both_ways(store: SqliteStore) -> None:
    store.put_devices([device(name) for name in "abc"], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    record(store, fails("a"), passes("b"), fails("c"))
    record(store, passes("a"), fails("b"), Verdict("c", "p", Status.ERROR))
    assert list(store.transitions(1, 2)) == [
        Transition("a", "p", Status.FAIL, None),
        Transition("b", "p", None, Status.FAIL, FAILED),
        Transition("c", "p", Status.FAIL, Status.ERROR),
    ]
    assert list(store.transitions(2, 1)) == [
        Transition("a", "p", None, Status.FAIL, FAILED),
        Transition("b", "p", Status.FAIL, None),
        Transition("c", "p", Status.ERROR, Status.FAIL, FAILED),
    ]


def test_a_run_that_is_not_there_is_named_whatever_is_asked_of_it(store: SqliteStore) -> None:
    questions = (
        lambda: store.run(7),
        lambda: list(store.results(7)),
        lambda: list(store.run_devices(7)),
        lambda: list(store.run_policies(7)),
        lambda: list(store.transitions(7, 8)),
        lambda: list(store.population_changes(7, 8)),
        lambda: store.leaf_of_run(7),
    )
    for ask in questions:
        with pytest.raises(FleetError) as caught:
            ask()
        assert caught.value.code == "run_not_found"


def test_leaves_are_numbered_from_zero_and_a_run_knows_its_own(store: SqliteStore) -> None:
    assert store.append_leaf(b"first") == 0
    store.put_devices([device("a")], now=NOW)
    store.put_policies([policy("p")], now=NOW)
    run = record(store, fails("a"))
    assert store.append_leaf(b"last") == 2
    assert store.leaf_of_run(run.run_id) == 1
    assert list(store.leaves()) == [b"first", encode_run_leaf(run), b"last"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leaves SET data = x'00' WHERE leaf = 0",
        "DELETE FROM leaves WHERE leaf = 1",
        "INSERT OR REPLACE INTO leaves VALUES (0, x'00')",
        "INSERT INTO leaves VALUES (7, x'00')",
        "INSERT INTO leaves VALUES (-1, x'00')",
    ],
)
def test_the_ledger_cannot_be_rewritten(store: SqliteStore, statement: str) -> None:
    for leaf in (b"a", b"b"):
        store.append_leaf(leaf)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store._connection.execute(statement)
    assert list(store.leaves()) == [b"a", b"b"]


def test_the_fleet_key_is_made_once(store: SqliteStore, path: Path) -> None:
    key = store.fleet_key()
    assert len(key) == 32
    with closing(open_store(path, create=True, now=NOW)) as again:
        assert again.fleet_key() == key


def test_migrations_have_no_gap_and_each_is_made_of_statements() -> None:
    migrations = load_migrations()
    assert [one.version for one in migrations] == list(range(1, len(migrations) + 1))
    assert all(list(one.statements()) for one in migrations)


def test_an_older_database_is_brought_forward_and_backed_up(path: Path) -> None:
    ours = load_migrations()
    newer = (*ours, Migration(len(ours) + 1, "CREATE TABLE extra (x TEXT) STRICT;\n"))
    with closing(open_store(path, create=True, now=NOW)) as store:
        store.put_devices([device("a")], now=NOW)
    with closing(open_store(path, now=NOW, migrations=newer)) as store:
        assert store.device_count() == 1
        assert not list(store.find_problems())
    (backup,) = path.parent.glob("*.backup")
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(open_store(backup, now=NOW)) as store:
        assert store.device_count() == 1
    with pytest.raises(FleetError) as caught:
        open_store(path, now=NOW)
    assert caught.value.code == "database_too_new"


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    ours = load_migrations()
    script = "CREATE TABLE extra (x TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);\n"
    open_store(path, create=True, now=NOW).close()
    with pytest.raises(sqlite3.OperationalError):
        open_store(path, now=NOW, migrations=(*ours, Migration(len(ours) + 1, script)))
    with closing(open_store(path, now=NOW)) as store:
        assert not list(store.find_problems())
        tables = store._connection.execute("SELECT name FROM sqlite_schema WHERE name = 'extra'")
        assert tables.fetchall() == []
