"""Intervals answer what full copies would: random fleets, runs and verdicts against a naive model."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.policy import Combine, CompliancePolicy, Group, Position
from fleetmdm.results import SILENT, Finding, Status, Verdict
from fleetmdm.store.port import NewRun, RunHashes
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICES = ("a", "b", "c", "d")
POLICIES = ("p", "q", "r")

Pair = tuple[str, str]
Outcome = tuple[Status, tuple[Finding, ...]]


@dataclass
class Snapshot:
    """One run, copied in full."""

    devices: dict[str, Device]
    policies: dict[str, bytes]
    verdicts: dict[Pair, Outcome]


@dataclass
class Model:
    """The fleet as plain dictionaries."""

    devices: dict[str, Device] = field(default_factory=dict)
    policies: dict[str, bytes] = field(default_factory=dict)
    runs: list[Snapshot] = field(default_factory=list)


outcomes = st.tuples(
    st.sampled_from([Status.PASS, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE]),
    st.integers(0, 1),
)
verdicts = st.fixed_dictionaries(
    {(device, policy): outcomes for device in DEVICES for policy in POLICIES}
)
steps = st.one_of(
    st.tuples(
        st.just("ingest"),
        st.lists(
            st.tuples(st.sampled_from(DEVICES), st.integers(0, 3), st.integers(0, 2)), max_size=6
        ),
    ),
    st.tuples(st.just("retire"), st.sampled_from(DEVICES)),
    st.tuples(st.just("put"), st.tuples(st.sampled_from(POLICIES), st.integers(0, 1))),
    st.tuples(st.just("remove"), st.sampled_from(POLICIES)),
)
runs = st.tuples(st.just("run"), verdicts)


@contextmanager
def fresh_store() -> Iterator[SqliteStore]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        with closing(open_store(path, create=True, now=NOW)) as store:
            # What is tested is what is written, not that the disk keeps it.
            store._connection.execute("PRAGMA synchronous = OFF")
            yield store


@given(st.lists(st.one_of(runs, runs, steps), min_size=4, max_size=12))
def test_every_answer_is_that_of_full_copies(sequence: list[tuple[str, object]]) -> None:
    model = Model()
    with fresh_store() as store:
        # A fleet to begin with, so that most runs have something to judge.
        ingest(store, model, [(name, 0, 0) for name in DEVICES])
        for name in POLICIES:
            put(store, model, (name, 0))
        for name, argument in sequence:
            ACTIONS[name](store, model, argument)  # type: ignore[operator] # a table of steps
        assert {one.device_id: one for one in store.devices()} == model.devices
        assert dict(store.policy_sources()) == model.policies
        check_runs(store, model)
        assert not list(store.find_problems())


def ingest(store: SqliteStore, model: Model, batch: list[tuple[str, int, int]]) -> None:
    devices = [
        Device(name, "h", "linux", "12", None, NOW + timedelta(hours=hour), {"x": value})
        for name, hour, value in batch
    ]
    counts = store.put_devices(devices, now=NOW)
    for device in devices:
        kept = model.devices.get(device.device_id)
        if kept is None or kept.last_seen <= device.last_seen:
            model.devices[device.device_id] = device
    fates = (counts.added, counts.changed, counts.refreshed, counts.unchanged)
    assert sum(fates) + counts.older + counts.duplicate == counts.received == len(devices)


def retire(store: SqliteStore, model: Model, name: str) -> None:
    if model.devices.pop(name, None):
        store.retire_device(name, now=NOW)


def put(store: SqliteStore, model: Model, argument: tuple[str, int]) -> None:
    name, version = argument
    source = b"%d" % version
    check = Group("checks", Combine.ALL, (), Position(1, 1))
    digest = hashlib.sha256(source).hexdigest()
    store.put_policies([CompliancePolicy(name, name, check, source, digest)], now=NOW)
    model.policies[name] = source


def remove(store: SqliteStore, model: Model, name: str) -> None:
    if model.policies.pop(name, None):
        store.remove_policy(name, now=NOW)


def run(store: SqliteStore, model: Model, drawn: Mapping[Pair, tuple[Status, int]]) -> None:
    judged: dict[Pair, Outcome] = {
        pair: (status, () if status in SILENT else (finding(number),))
        for pair, (status, number) in drawn.items()
        if pair[0] in model.devices and pair[1] in model.policies
    }
    with store.begin_run(NewRun(NOW, NOW, "0")) as writer:
        assert {one.device_id: one for one in writer.devices()} == model.devices
        writer.add(
            Verdict(device, policy, status, findings)
            for (device, policy), (status, findings) in judged.items()
        )
        done = writer.finish(finished_at=NOW, hashes=RunHashes("", "", ""), leaf=encode_run_leaf)
    assert sum(done.counts.values()) == len(judged)
    model.runs.append(Snapshot(dict(model.devices), dict(model.policies), judged))


def finding(number: int) -> Finding:
    return Finding("checks[0]", "x", "eq", 1, number, "mismatch", "x")


ACTIONS = {"ingest": ingest, "retire": retire, "put": put, "remove": remove, "run": run}


def loud(snapshot: Snapshot) -> dict[Pair, Outcome]:
    return {pair: one for pair, one in snapshot.verdicts.items() if one[0] not in SILENT}


def check_runs(store: SqliteStore, model: Model) -> None:
    for number, snapshot in enumerate(model.runs, start=1):
        rows = list(store.results(number))
        assert [(row.device_id, row.policy_id) for row in rows] == sorted(loud(snapshot))
        assert {(row.device_id, row.policy_id): (row.status, row.findings) for row in rows} == loud(
            snapshot
        )
        assert {one.device_id: one for one in store.run_devices(number)} == snapshot.devices
        assert dict(store.run_policies(number)) == snapshot.policies
        for other, later in enumerate(model.runs, start=1):
            check_transitions(store, (number, snapshot), (other, later))


def check_transitions(
    store: SqliteStore, before: tuple[int, Snapshot], after: tuple[int, Snapshot]
) -> None:
    old, new = loud(before[1]), loud(after[1])
    expected = []
    for pair in sorted(old.keys() | new.keys()):
        was, now = old.get(pair, (None, ())), new.get(pair, (None, ()))
        if was[0] != now[0]:
            expected.append((*pair, was[0], now[0], now[1]))
    found = [
        (one.device_id, one.policy_id, one.before, one.after, one.findings)
        for one in store.transitions(before[0], after[0])
    ]
    assert found == expected
    changes = [
        (one.kind, one.id, str(one.presence))
        for one in store.population_changes(before[0], after[0])
    ]
    assert changes == [
        *strangers("device", before[1].devices, after[1].devices),
        *strangers("policy", before[1].policies, after[1].policies),
    ]


def strangers(
    kind: str, before: Mapping[str, object], after: Mapping[str, object]
) -> list[tuple[str, str, str]]:
    return [
        (kind, name, "new" if name in after else "vanished")
        for name in sorted(before.keys() ^ after.keys())
    ]
