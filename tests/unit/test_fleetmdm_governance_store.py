"""The store keeps what people decide: assignments, waivers, attestations; and prunes runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.governance.expiry import end_of_day
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Revocation, Waiver
from fleetmdm.ledger.entries import encode_prune_leaf, encode_run_leaf, encode_statement_leaf
from fleetmdm.ledger.replay import replay
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Finding, Status, Verdict
from fleetmdm.store.port import NewRun, RunHashes
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAB = Scope(ScopeKind.TAG, "lab")
ONE = Scope(ScopeKind.DEVICE, "a")
WHERE = Scope(ScopeKind.SELECTOR, '{"key":"x","op":"eq","value":1}')
WAIVER = Waiver(
    id="",
    policy_id="p",
    scope=WHERE,
    device_ids=frozenset({"b", "a"}),
    reason="the vendor has no update yet",
    risk_owner="Ada",
    approver="Grace",
    approved_at=NOW,
    expires=date(2026, 3, 31),
    zone="Europe/Berlin",
    expires_at=end_of_day(date(2026, 3, 31), "Europe/Berlin"),
)
ATTESTATION = Attestation(
    id="",
    policy_id="p",
    scope=LAB,
    device_ids=frozenset({"a"}),
    answer=Answer.PASS,
    statement="looked at the door",
    attested_by="Ada",
    attested_at=NOW,
    stale_at=NOW + timedelta(days=90),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store with two devices and two policies."""
    with closing(open_store(tmp_path / "fleet.db", create=True, now=NOW)) as opened:
        opened.put_devices(map(device, "ab"), now=NOW)
        put(opened, "p")
        put(opened, "q")
        yield opened


def device(name: str) -> Device:
    return Device(name, name, "linux", "12", None, NOW, {"x": 1}, ("lab",))


def put(store: SqliteStore, name: str, value: int = 1) -> None:
    text = f"id: {name}\nname: n\nchecks: [{{key: x, op: eq, value: {value}}}]\n"
    store.put_policies([parse_policy(text.encode(), name=name)], now=NOW)


Outcomes = dict[tuple[str, str], tuple[Status, int]]


def record(store: SqliteStore, outcomes: Outcomes, day: int = 0) -> int:
    """A run in which these pairs do not pass, each with a finding of a number."""
    at = NOW + timedelta(days=day)
    with store.begin_run(NewRun(at, at, "0")) as writer:
        writer.add(
            Verdict(*pair, status, (Finding("checks[0]", "x", "eq", 1, number, "mismatch", ""),))
            for pair, (status, number) in outcomes.items()
        )
        hashes = RunHashes("", "", "")
        return writer.finish(finished_at=at, hashes=hashes, leaf=encode_run_leaf).run_id


def prune(store: SqliteStore, *run_ids: int) -> dict[str, int]:
    def leaf(removed: object) -> bytes:
        assert isinstance(removed, dict)
        return encode_prune_leaf(run_ids=run_ids, pruned_at=NOW, removed=removed, tool_version="0")

    return dict(store.prune_runs(run_ids, now=NOW, leaf=leaf).removed)


def test_assignments_begin_end_and_stay_with_the_runs_that_used_them(store: SqliteStore) -> None:
    assert store.assign_policy("q", LAB, now=NOW)
    assert store.assign_policy("p", WHERE, now=NOW)
    assert not store.assign_policy("p", WHERE, now=NOW)
    first = record(store, {})
    assert store.unassign_policy("p", WHERE, now=NOW)
    assert not store.unassign_policy("p", WHERE, now=NOW)
    assert store.assign_policy("p", ONE, now=NOW)
    assert [(one.policy_id, one.scope) for one in store.assignments()] == [("p", ONE), ("q", LAB)]
    pinned = [(one.policy_id, one.scope) for one in store.run_assignments(first)]
    assert pinned == [("p", WHERE), ("q", LAB)]
    assert not list(store.find_problems())


def test_a_policy_that_is_removed_is_not_assigned_when_it_comes_back(store: SqliteStore) -> None:
    store.assign_policy("p", LAB, now=NOW)
    store.remove_policy("p", now=NOW)
    put(store, "p")
    assert list(store.assignments()) == []


def test_only_a_policy_that_is_there_can_be_assigned(store: SqliteStore) -> None:
    for change in (store.assign_policy, store.unassign_policy):
        with pytest.raises(FleetError) as caught:
            change("none", LAB, now=NOW)
        assert caught.value.code == "policy_not_found"


@pytest.mark.parametrize("statement", [WAIVER, ATTESTATION], ids=["waiver", "attestation"])
def test_a_statement_is_kept_as_it_was_made_and_its_leaf_hashes_it(
    statement: Waiver | Attestation, store: SqliteStore
) -> None:
    made = store.put_statement(statement, leaf=encode_statement_leaf)  # type: ignore[type-var] # both kinds in turn
    assert made == replace(statement, id="W1" if statement is WAIVER else "A1")
    read = list(store.waivers() if statement is WAIVER else store.attestations())
    assert read == [made]
    (leaf,) = store.leaves()
    entry = json.loads(leaf)
    assert (entry["event"], entry["id"], entry["devices"]) == (
        "made",
        made.id,
        len(made.device_ids),
    )
    assert "Ada" not in leaf.decode()
    assert replay(store.leaves(), {}).problems == []


def test_a_revoked_waiver_stays_with_the_runs_that_knew_it(store: SqliteStore) -> None:
    made = store.put_statement(WAIVER, leaf=encode_statement_leaf)
    run = record(store, {})
    revocation = Revocation(NOW, "Grace", "updated")
    gone = store.revoke_statement(Waiver, made.id, revocation, leaf=encode_statement_leaf)
    assert gone.revocation == revocation
    assert list(store.waivers()) == []
    assert list(store.waivers(revoked=True)) == [gone]
    assert list(store.run_waivers(run)) == [made]
    with pytest.raises(FleetError) as caught:
        store.revoke_statement(Waiver, made.id, revocation, leaf=encode_statement_leaf)
    assert caught.value.code == "statement_not_found"


def test_an_id_is_never_used_again(store: SqliteStore) -> None:
    named = replace(WAIVER, id="W1")
    store.put_statement(named, leaf=encode_statement_leaf)
    store.revoke_statement(Waiver, "W1", Revocation(NOW, "Grace", "x"), leaf=encode_statement_leaf)
    with pytest.raises(FleetError) as caught:
        store.put_statement(named, leaf=encode_statement_leaf)
    assert caught.value.code == "statement_exists"
    # The store's own numbers go around it, and the other kind has ids of its own.
    assert store.put_statement(WAIVER, leaf=encode_statement_leaf).id == "W2"
    assert store.put_statement(ATTESTATION, leaf=encode_statement_leaf).id == "A1"


@pytest.mark.parametrize(
    ("day", "zone", "expected"),
    [
        (date(2026, 3, 31), "UTC", "2026-04-01T00:00:00+00:00"),
        (date(2026, 3, 28), "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        (date(2026, 3, 29), "Europe/Berlin", "2026-03-29T22:00:00+00:00"),
        # Clocks skip midnight: the day ends where they jump.
        (date(2026, 9, 5), "America/Santiago", "2026-09-06T04:00:00+00:00"),
        # Clocks go back from 1:00 to 0:00: the day ends at the first midnight.
        (date(2026, 10, 31), "America/Havana", "2026-11-01T04:00:00+00:00"),
    ],
)
def test_a_day_ends_when_the_next_begins_in_its_zone(day: date, zone: str, expected: str) -> None:
    assert end_of_day(day, zone).isoformat() == expected


@pytest.mark.parametrize("zone", ["", "Europe/Nowhere", "../../etc/passwd", "/etc/localtime"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        end_of_day(date(2026, 1, 1), zone)


# Pruning.


def test_pruning_removes_what_no_run_pins_and_keeps_the_ledger(store: SqliteStore) -> None:
    pair = ("a", "p")
    record(store, {pair: (Status.FAIL, 1)})
    put(store, "p", 2)
    store.put_devices([replace(device("a"), facts={"x": 2})], now=NOW)
    record(store, {})
    record(store, {pair: (Status.FAIL, 2)})
    removed = prune(store, 1)
    assert removed == {
        "runs": 1, "results": 1, "documents": 1, "sightings": 0, "policies": 1, "assignments": 0
    }  # fmt: skip
    assert [run.run_id for run in store.runs()] == [3, 2]
    assert len(list(store.leaves())) == 4
    assert replay(store.leaves(), {run.run_id: run for run in store.runs()}).problems == []
    assert not list(store.find_problems())
    with pytest.raises(FleetError) as caught:
        store.run(1)
    assert caught.value.code == "run_not_found"


def test_what_a_run_that_stays_pins_is_not_removed(store: SqliteStore) -> None:
    store.assign_policy("p", LAB, now=NOW)
    first = record(store, {("a", "p"): (Status.FAIL, 1)})
    put(store, "p", 2)
    store.unassign_policy("p", LAB, now=NOW)
    store.retire_device("b", now=NOW)
    record(store, {})
    record(store, {})
    told = list(store.run_devices(first)), list(store.run_policies(first))
    assert prune(store, 2)["documents"] == 0
    assert (list(store.run_devices(first)), list(store.run_policies(first))) == told
    assert [one.scope for one in store.run_assignments(first)] == [LAB]
    assert len(list(store.results(first))) == 1


def test_since_when_something_fails_is_known_after_its_first_run_is_pruned(
    store: SqliteStore,
) -> None:
    pair = ("a", "p")
    first = record(store, {pair: (Status.FAIL, 1)})
    record(store, {pair: (Status.FAIL, 2)}, day=1)
    record(store, {pair: (Status.FAIL, 2)}, day=2)
    removed = prune(store, 1, 2)
    assert removed["results"] == 0
    assert store.run_moments()[first] == NOW
    # No list shows the run or what only it held.
    assert [(row.since_run, row.findings[0].observed) for row in store.intervals()] == [(2, 2)]
    assert not list(store.find_problems())


def test_the_newest_run_stays(store: SqliteStore) -> None:
    newest = record(store, {})
    assert prune(store, newest) == {}
    assert store.run(newest).run_id == newest


def test_a_run_that_is_not_there_cannot_be_pruned(
    store: SqliteStore,
) -> None:
    record(store, {})
    with pytest.raises(FleetError) as caught:
        prune(store, 7)
    assert caught.value.code == "run_not_found"
