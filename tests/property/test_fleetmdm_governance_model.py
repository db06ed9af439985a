"""Whatever people and time do, every answer is that of a recomputation from full copies.

Random sequences of ingest, policy change, waiver, attestation, assignment, run (whose moment goes
to and fro) and prune; the model keeps everything that each run saw and computes it all anew.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device
from fleetmdm.drift import Strangers, judge_drift, judge_effective_drift
from fleetmdm.engines.effective import QUIET, effective_spans, effective_transitions
from fleetmdm.engines.local import record_run
from fleetmdm.engines.scopes import resolve_scope
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import evaluate
from fleetmdm.governance.effective import PROBLEMS, EffectiveStatus, Standing, effective
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Revocation, Waiver
from fleetmdm.ledger.entries import encode_prune_leaf, encode_statement_leaf
from fleetmdm.ledger.replay import replay
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import SILENT, Finding, Status, Transition
from fleetmdm.store.port import NewRun, Presence
from fleetmdm.store.sqlite import SqliteStore, open_store
from fleetmdm.store.standing import RunStanding
from fleetmdm.triage import find_flaps

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DEVICES = ("a", "b", "c")
TEXTS = {
    "p": "checks: [{{key: x, op: eq, value: {0}}}]",
    "q": "grace: 2d\nchecks: [{{key: seen, op: within, value: {0}d}}]",
    "r": "targets: {{tags: [lab]}}\nattestation: {{question: q, period: {0}d}}",
}
SCOPES = (
    Scope(ScopeKind.DEVICE, "a"),
    Scope(ScopeKind.TAG, "lab"),
    Scope(ScopeKind.SELECTOR, '{"key":"x","op":"eq","value":1}'),
)
Pair = tuple[str, str]


@dataclass
class Snapshot:
    """Everything that one run saw, and what it must have said."""

    as_of: datetime
    stale_after: timedelta
    devices: dict[str, Device]
    policies: dict[str, CompliancePolicy]
    assignments: set[tuple[str, Scope]]
    waivers: dict[str, Waiver]
    attestations: dict[str, Attestation]
    verdicts: dict[Pair, tuple[Status, tuple[Finding, ...]]] = field(default_factory=dict)

    def judge(self) -> None:
        """Judge every device by itself, with assignments by hand."""
        for name, device in self.devices.items():
            for verdict in evaluate([device], self.policies.values(), self.as_of):
                chosen = self.choose(device, verdict.policy_id)
                told = (verdict.status, verdict.findings)
                pair = (name, verdict.policy_id)
                self.verdicts[pair] = (Status.NOT_SELECTED, ()) if chosen is False else told
                # Where the targets do not match, nobody asks the selector.
                if chosen is None and verdict.status is not Status.NOT_APPLICABLE:
                    self.verdicts[pair] = (Status.UNKNOWN, self.unsure())

    def choose(self, device: Device, policy_id: str) -> bool | None:
        """Whether assignments let a policy apply; None where the selector cannot tell."""
        if not self.assignments:
            return True
        answers = [answers_of(one, device) for name, one in self.assignments if name == policy_id]
        return True if True in answers else None if None in answers else False

    def unsure(self) -> tuple[Finding, ...]:
        """What is said where a selector asks for a fact that is missing."""
        said = "must hold: x eq 1"
        return (Finding("where", "x", "eq", 1, None, "missing", said),)


def answers_of(scope: Scope, device: Device) -> bool | None:
    if scope.kind is ScopeKind.DEVICE:
        return scope.value == device.device_id
    if scope.kind is ScopeKind.TAG:
        return scope.value in device.tags
    return None if "x" not in device.facts else device.facts["x"] == 1


@dataclass
class Model:
    """The fleet as plain dictionaries, and every run that ever was."""

    devices: dict[str, Device] = field(default_factory=dict)
    policies: dict[str, CompliancePolicy] = field(default_factory=dict)
    assignments: set[tuple[str, Scope]] = field(default_factory=set)
    waivers: dict[str, Waiver] = field(default_factory=dict)
    attestations: dict[str, Attestation] = field(default_factory=dict)
    runs: list[Snapshot] = field(default_factory=list)
    pruned: set[int] = field(default_factory=set)
    leaves: Counter[str] = field(default_factory=Counter)

    def kept(self) -> list[int]:
        """Numbers of the runs that are still there."""
        return [n for n in range(1, len(self.runs) + 1) if n not in self.pruned]

    def status(self, number: int, pair: Pair) -> Status | None:
        """The stored state of a pair in a run; None where there is no row."""
        told = self.runs[number - 1].verdicts.get(pair)
        return None if told is None or told[0] in SILENT else told[0]

    def failing_since(self, number: int, pair: Pair) -> datetime | None:
        """Going back run by run, the first of an unbroken line of problems."""
        if self.status(number, pair) not in PROBLEMS:
            return None
        while number > 1 and self.status(number - 1, pair) in PROBLEMS:
            number -= 1
        return self.runs[number - 1].as_of

    def effective(self, number: int, pair: Pair) -> EffectiveStatus:
        """The effective state, by hand."""
        run = self.runs[number - 1]
        device, policy_id = run.devices[pair[0]], pair[1]
        waivers = tuple(
            one
            for one in run.waivers.values()
            if one.policy_id == policy_id and pair[0] in one.device_ids
        )
        answers = tuple(
            one
            for one in run.attestations.values()
            if one.policy_id == policy_id and pair[0] in one.device_ids
        )
        standing = Standing(
            raw=run.verdicts[pair][0],
            last_seen=device.last_seen,
            stale_after=run.stale_after,
            failing_since=self.failing_since(number, pair),
            grace=run.policies[policy_id].grace,
            waivers=waivers,
            attestations=answers,
        )
        return effective(standing, as_of=run.as_of).status


# What may happen.

days = st.integers(0, 8)
facts = st.fixed_dictionaries(
    {},
    optional={
        "x": st.integers(1, 2),
        "seen": days.map(lambda day: f"2026-03-0{day + 1}T00:00:00Z"),
    },
)
policy_ids = st.sampled_from(list(TEXTS))
scopes = st.sampled_from(SCOPES)
steps = st.one_of(
    st.tuples(st.just("ingest"), st.sampled_from(DEVICES), facts, st.booleans(), days),
    st.tuples(st.just("retire"), st.sampled_from(DEVICES)),
    st.tuples(st.just("put"), policy_ids, st.integers(1, 2)),
    st.tuples(st.just("remove"), policy_ids),
    st.tuples(st.just("assign"), policy_ids, scopes),
    st.tuples(st.just("unassign"), policy_ids, scopes),
    st.tuples(st.just("waive"), policy_ids, scopes, days, st.integers(1, 4)),
    st.tuples(st.just("attest"), scopes, st.sampled_from(Answer), days, st.integers(1, 4)),
    st.tuples(st.just("revoke"), st.booleans(), st.integers(1, 3)),
    st.tuples(st.just("prune"), st.sets(st.integers(1, 12), max_size=4)),
)
runs = st.tuples(st.just("run"), days, st.sampled_from([0, 3]))


@contextmanager
def fresh_store() -> Iterator[SqliteStore]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        with closing(open_store(path, create=True, now=NOW)) as store:
            store._connection.execute("PRAGMA synchronous = OFF")
            yield store


class Fleet:
    """A store and its model, changed together."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.model = Model()

    def ingest(self, name: str, given: dict[str, Any], lab: bool, day: int) -> None:
        tags = ("lab",) if lab else ()
        device = Device(name, name, "linux", "12", None, NOW + day * DAY, given, tags)
        self.store.put_devices([device], now=NOW)
        kept = self.model.devices.get(name)
        if kept is None or kept.last_seen <= device.last_seen:
            self.model.devices[name] = device

    def retire(self, name: str) -> None:
        if self.model.devices.pop(name, None):
            self.store.retire_device(name, now=NOW)

    def put(self, name: str, number: int) -> None:
        text = f"id: {name}\nname: n\n{TEXTS[name].format(number)}\n"
        self.model.policies[name] = parse_policy(text.encode(), name=name)
        self.store.put_policies([self.model.policies[name]], now=NOW)

    def remove(self, name: str) -> None:
        if self.model.policies.pop(name, None):
            self.store.remove_policy(name, now=NOW)
            self.model.assignments = {one for one in self.model.assignments if one[0] != name}

    def assign(self, name: str, scope: Scope) -> None:
        if name in self.model.policies:
            new = (name, scope) not in self.model.assignments
            assert self.store.assign_policy(name, scope, now=NOW) == new
            self.model.assignments.add((name, scope))

    def unassign(self, name: str, scope: Scope) -> None:
        if name in self.model.policies:
            there = (name, scope) in self.model.assignments
            assert self.store.unassign_policy(name, scope, now=NOW) == there
            self.model.assignments.discard((name, scope))

    def meant(self, scope: Scope) -> frozenset[str]:
        found = {one.device_id for one in self.model.devices.values() if answers_of(scope, one)}
        try:
            assert resolve_scope(self.store, scope, now=NOW).device_ids == found
        except FleetError:
            assert not found
        return frozenset(found)

    def waive(self, name: str, scope: Scope, day: int, length: int) -> None:
        if name not in self.model.policies:
            return
        begin = NOW + day * DAY
        waiver = Waiver(
            id="",
            policy_id=name,
            scope=scope,
            device_ids=self.meant(scope),
            reason="r",
            risk_owner="o",
            approver="a",
            approved_at=begin,
            expires=date(2026, 3, 1),
            zone="UTC",
            expires_at=begin + length * DAY,
        )
        made = self.store.put_statement(waiver, leaf=encode_statement_leaf)
        self.model.waivers[made.id] = made
        self.model.leaves["waiver"] += 1

    def attest(self, scope: Scope, answer: Answer, day: int, length: int) -> None:
        if "r" not in self.model.policies:
            return
        begin = NOW + day * DAY
        devices = self.meant(scope)
        new = Attestation("", "r", scope, devices, answer, "s", "b", begin, begin + length * DAY)
        made = self.store.put_statement(new, leaf=encode_statement_leaf)
        self.model.attestations[made.id] = made
        self.model.leaves["attestation"] += 1

    def revoke(self, waiver: bool, number: int) -> None:
        said = Revocation(NOW, "b", "r")
        if waiver and f"W{number}" in self.model.waivers:
            del self.model.waivers[f"W{number}"]
            self.store.revoke_statement(Waiver, f"W{number}", said, leaf=encode_statement_leaf)
            self.model.leaves["waiver"] += 1
        if not waiver and f"A{number}" in self.model.attestations:
            del self.model.attestations[f"A{number}"]
            self.store.revoke_statement(Attestation, f"A{number}", said, leaf=encode_statement_leaf)
            self.model.leaves["attestation"] += 1

    def run(self, day: int, stale_days: int) -> None:
        model, as_of = self.model, NOW + day * DAY
        if not model.devices or not model.policies:
            return
        new = NewRun(as_of, as_of, "0", stale_after_s=stale_days * 86_400)
        record_run(self.store, new, clock=lambda: as_of)
        seen = Snapshot(
            as_of,
            stale_days * DAY,
            dict(model.devices),
            dict(model.policies),
            set(model.assignments),
            dict(model.waivers),
            dict(model.attestations),
        )
        seen.judge()
        model.runs.append(seen)
        model.leaves["run"] += 1

    def prune(self, numbers: set[int]) -> None:
        kept = self.model.kept()
        chosen = sorted(numbers & set(kept))

        def leaf(removed: Any) -> bytes:
            return encode_prune_leaf(
                run_ids=chosen, pruned_at=NOW, removed=removed, tool_version="0"
            )

        pruned = self.store.prune_runs(chosen, now=NOW, leaf=leaf)
        assert list(pruned.run_ids) == [one for one in chosen if one != kept[-1]]
        self.model.pruned |= set(pruned.run_ids)
        self.model.leaves["prune"] += pruned.leaf is not None


@given(st.lists(st.one_of(runs, runs, steps), min_size=4, max_size=16))
def test_every_answer_is_that_of_a_recomputation(sequence: list[tuple[Any, ...]]) -> None:
    with fresh_store() as store:
        fleet = Fleet(store)
        for name in DEVICES[:2]:
            fleet.ingest(name, {"x": 1}, True, 2)
        for name in TEXTS:
            fleet.put(name, 1)
        for name, *arguments in sequence:
            getattr(fleet, name)(*arguments)
        check_all(store, fleet.model)


def check_all(store: SqliteStore, model: Model) -> None:
    kept = model.kept()
    assert [run.run_id for run in store.runs()] == kept[::-1]
    for number in kept:
        for check in (check_pinned, check_rows, check_effective):
            check(store, model, number)
        for other in kept:
            check_drift(store, model, number, other)
    check_intervals(store, model, kept)
    check_effective_spans(store, model, kept)
    if kept:
        check_flaps(store, model, kept)
    seen = replay(store.leaves(), {run.run_id: run for run in store.runs()})
    assert (seen.problems, Counter(seen.counts)) == ([], +model.leaves)
    assert list(store.find_problems()) == []


def check_pinned(store: SqliteStore, model: Model, number: int) -> None:
    run = model.runs[number - 1]
    assert {one.device_id: one for one in store.run_devices(number)} == run.devices
    assert dict(store.run_policies(number)) == {
        name: policy.source for name, policy in run.policies.items()
    }
    assigned = {(one.policy_id, one.scope) for one in store.run_assignments(number)}
    assert assigned == run.assignments
    assert {one.id: one for one in store.run_waivers(number)} == run.waivers
    assert {one.id: one for one in store.run_attestations(number)} == run.attestations


def loud(model: Model, number: int) -> dict[Pair, tuple[Status, tuple[Finding, ...]]]:
    verdicts = model.runs[number - 1].verdicts
    return {pair: told for pair, told in verdicts.items() if told[0] not in SILENT}


def check_rows(store: SqliteStore, model: Model, number: int) -> None:
    rows = list(store.results(number))
    told = {(row.device_id, row.policy_id): (row.status, row.findings) for row in rows}
    assert told == loud(model, number)
    counts = Counter(status for status, _ in model.runs[number - 1].verdicts.values())
    assert Counter(store.run(number).counts) == counts


def check_effective(store: SqliteStore, model: Model, number: int) -> None:
    seen = model.runs[number - 1]
    standing = RunStanding(store, store.run(number), seen.policies.values())
    for each in standing.judge(store.results(number)):
        pair = (each.row.device_id, each.row.policy_id)
        assert each.effective.status is model.effective(number, pair)
        assert each.failing_since == model.failing_since(number, pair)
    expected: Counter[tuple[str, Status, EffectiveStatus]] = Counter()
    for pair, (raw, _) in seen.verdicts.items():
        state = model.effective(number, pair)
        if state.value != raw.value:
            expected[pair[1], raw, state] += 1
    found = standing.differences()
    assert expected == {
        (name, *states): count for name, each in found.items() for states, count in each.items()
    }


def check_drift(store: SqliteStore, model: Model, before: int, after: int) -> None:
    old, new = loud(model, before), loud(model, after)
    expected = [
        Transition(*pair, old.get(pair, (None,))[0], new.get(pair, (None,))[0])
        for pair in sorted(old.keys() | new.keys())
        if old.get(pair, (None,))[0] != new.get(pair, (None,))[0]
    ]
    found = list(store.transitions(before, after))
    assert [(one.device_id, one.policy_id, one.before, one.after) for one in found] == [
        (one.device_id, one.policy_id, one.before, one.after) for one in expected
    ]
    changes = [(one.kind, one.id, one.presence) for one in store.population_changes(before, after)]
    was, now = model.runs[before - 1], model.runs[after - 1]
    strangers = Strangers(
        frozenset(now.devices.keys() - was.devices.keys()),
        frozenset(now.policies.keys() - was.policies.keys()),
    )
    assert {one[:2] for one in changes if one[2] is Presence.NEW} == {
        *(("device", name) for name in strangers.devices),
        *(("policy", name) for name in strangers.policies),
    }
    drift = judge_drift(found, new=strangers, vanished=Strangers())
    assert sum(drift.counts.values()) == len(expected)
    check_effective_drift(store, model, before, after)


def stood(model: Model, number: int, pair: Pair) -> EffectiveStatus | None:
    """The effective state of a pair in a run; None where the run did not know it."""
    known = pair in model.runs[number - 1].verdicts
    return model.effective(number, pair) if known else None


def heard(model: Model, number: int) -> set[Pair]:
    """What a run told in its rows, or that time made loud: a silent pair may come and go unsaid."""
    verdicts = model.runs[number - 1].verdicts
    return {
        pair
        for pair, (raw, _) in verdicts.items()
        if raw not in SILENT or model.effective(number, pair).value != raw.value
    }


def check_effective_drift(store: SqliteStore, model: Model, before: int, after: int) -> None:
    pairs = heard(model, before) | heard(model, after)
    states = [(pair, stood(model, before, pair), stood(model, after, pair)) for pair in pairs]
    expected = {(*pair, was, now) for pair, was, now in states if was != now}
    found = list(effective_transitions(store, store.run(before), store.run(after)))
    raw = [one.transition for one in found]
    told = {(one.device_id, one.policy_id) for one in raw}
    assert len(told) == len(found)
    assert expected == {
        (one.transition.device_id, one.transition.policy_id, one.before, one.after) for one in found
    }
    for one in raw:
        pair = (one.device_id, one.policy_id)
        was, now = (model.runs[n - 1].verdicts.get(pair, (None,))[0] for n in (before, after))
        assert (one.before, one.after) == (was, now)
    drift = judge_effective_drift(found, new=Strangers(), vanished=Strangers())
    assert sum(drift.counts.values()) == len(expected)


def check_effective_spans(store: SqliteStore, model: Model, kept: list[int]) -> None:
    expected: set[tuple[Any, ...]] = set()
    for pair in {pair for number in kept for pair in model.runs[number - 1].verdicts}:
        last: tuple[EffectiveStatus, int] | None = None
        for number in kept:
            state = stood(model, number, pair)
            if last is not None and state is not last[0]:
                expected.add((*pair, last[0], last[1], number))
                last = None
            if last is None and state is not None and state not in QUIET:
                last = (state, number)
        if last is not None:
            expected.add((*pair, *last, None))
    found = effective_spans(store, [store.run(number) for number in kept])
    assert expected == {
        (one.device_id, one.policy_id, one.status, one.since_run, one.until_run) for one in found
    }
    assert len(found) == len(expected)


def spans(model: Model, pair: Pair) -> Iterator[tuple[int, int | None, Status]]:
    """(since, until, status) of every interval of a pair, over every run that ever was."""
    last: tuple[Any, Any] | None = None
    since = 0
    for number in range(1, len(model.runs) + 2):
        told = loud(model, number).get(pair) if number <= len(model.runs) else None
        ends = number <= len(model.runs)
        if told != last or not ends:
            if last is not None:
                yield since, number if ends else None, last[0]
            last, since = told, number


def check_intervals(store: SqliteStore, model: Model, kept: list[int]) -> None:
    pairs = {pair for run in model.runs for pair in run.verdicts}
    expected = [
        (*pair, since, until, status)
        for pair in pairs
        for since, until, status in spans(model, pair)
        if any(since <= one and (until is None or one < until) for one in kept)
    ]
    found = [
        (row.device_id, row.policy_id, row.since_run, row.until_run, row.status)
        for row in store.intervals()
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)
    moments = store.run_moments()
    for row in found:
        assert moments[row[2]] == model.runs[row[2] - 1].as_of


def check_flaps(store: SqliteStore, model: Model, kept: list[int]) -> None:
    if model.pruned:
        return
    rows = list(store.intervals(first_run=1, last_run=kept[-1]))
    found = {
        (one.device_id, one.policy_id): one.changes
        for one in find_flaps(rows, first_run=1, last_run=kept[-1], least=1)
    }
    count: Callable[[Pair], int] = lambda pair: sum(  # noqa: E731 - one expression
        (model.status(n, pair) in PROBLEMS) != (model.status(n + 1, pair) in PROBLEMS)
        for n in range(1, len(model.runs))
    )
    pairs = {pair for run in model.runs for pair in run.verdicts}
    assert found == {pair: count(pair) for pair in pairs if count(pair)}
