"""The effective states of a run, read from any store through its port.

Everything they depend on is pinned by the run (its moment, its settings, the waivers, attestations
and policies that it knew), so that the same run always tells the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Final, TypeVar

from fleetmdm.device import Device
from fleetmdm.governance.effective import (
    PROBLEMS,
    Differences,
    Effective,
    EffectiveStatus,
    JudgedRow,
    Standing,
    effective,
    plain_effective,
)
from fleetmdm.governance.statements import Attestation, Waiver
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import ResultRow, Run, Status, Verdict
from fleetmdm.store.port import FleetStore
from fleetmdm.store.selections import run_selections

_S = TypeVar("_S", Waiver, Attestation)

_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Governed:
    """What people decided, as known at some point, and the moment to judge by."""

    policies: Mapping[str, CompliancePolicy]
    waivers: Mapping[str, Sequence[Waiver]]
    attestations: Mapping[str, Sequence[Attestation]]
    stale_after: timedelta
    as_of: datetime

    def touched(self) -> list[str]:
        """Policies of which a row may stand otherwise than it was judged, staleness aside."""
        graceful = {name for name, policy in self.policies.items() if policy.grace}
        names = graceful | self.waivers.keys() | self.attestations.keys()
        return sorted(names & self.policies.keys())

    def effective(
        self, pair: tuple[str, str], raw: Status, last_seen: datetime | None, began: datetime | None
    ) -> Effective:
        """The effective state of a (device id, policy id)."""
        policy = self.policies.get(pair[1])
        stated = pair[1] in self.waivers or pair[1] in self.attestations
        if not stated and not (policy and policy.grace):
            return plain_effective(raw, last_seen, self.stale_after, as_of=self.as_of)
        standing = Standing(
            raw=raw,
            last_seen=last_seen,
            stale_after=self.stale_after,
            failing_since=began,
            grace=policy.grace if policy else timedelta(0),
            waivers=_covering(self.waivers, pair),
            attestations=_covering(self.attestations, pair),
        )
        return effective(standing, as_of=self.as_of)


class RunStanding:
    """The effective states of one run."""

    def __init__(self, store: FleetStore, run: Run, policies: Iterable[CompliancePolicy]) -> None:
        self._store = store
        self._run = run
        self._governed = Governed(
            policies={policy.id: policy for policy in policies},
            waivers=by_policy(store.run_waivers(run.run_id)),
            attestations=by_policy(store.run_attestations(run.run_id)),
            stale_after=timedelta(seconds=run.stale_after_s),
            as_of=run.as_of,
        )
        self._moments = store.run_moments()
        self._earlier: Mapping[tuple[str, str], int] | None = None

    @property
    def _stale_after(self) -> timedelta:
        return self._governed.stale_after

    def judge(self, rows: Iterable[ResultRow], *, timely: bool = True) -> Iterator[JudgedRow]:
        """The effective state of each row; the rows come by device id if staleness matters."""
        seen = self._last_seen() if timely else iter(())
        at: tuple[str, datetime] | None = None
        for row in rows:
            while at is None or at[0] < row.device_id:
                at = next(seen, None)
                if at is None:
                    break
            known = at[1] if at is not None and at[0] == row.device_id else None
            began = self.began(row) if row.status in PROBLEMS else None
            pair = (row.device_id, row.policy_id)
            yield JudgedRow(row, self._governed.effective(pair, row.status, known, began), began)

    def began(self, row: ResultRow) -> datetime:
        """The moment of the run at which an unbroken line of problems began."""
        if self._earlier is None:
            self._earlier = self._store.failing_since(self._run.run_id)
        return self._moments[self._earlier.get((row.device_id, row.policy_id), row.since_run)]

    def _last_seen(self) -> Iterator[tuple[str, datetime]]:
        return self._store.run_last_seen(self._run.run_id) if self._stale_after else iter(())

    def stale_devices(self) -> list[str]:
        """Devices whose inventory was too old for the run, by id."""
        edge = self._run.as_of - self._stale_after
        if not self._stale_after or not self._store.run_saw_before(self._run.run_id, edge):
            return []
        return [name for name, seen in self._last_seen() if seen <= edge]

    def differences(self) -> dict[str, Differences]:
        """By policy id: on how many devices effective and raw state differ, and how."""
        stale = self.stale_devices()
        found: dict[str, Counter[tuple[Status, EffectiveStatus]]] = {}
        for each in self.judge(self._rows(everything=bool(stale)), timely=bool(stale)):
            state = each.effective.status
            if state.value != each.row.status.value:
                counts = found.setdefault(each.row.policy_id, Counter())
                counts[each.row.status, state] += 1
        for _, policy_id in self._passes(stale):
            counts = found.setdefault(policy_id, Counter())
            counts[Status.PASS, EffectiveStatus.STALE] += 1
        return dict(found)

    def stale_passes(self) -> Iterator[tuple[str, str]]:
        """(device id, policy id) of every pass that is stale, in order; passes have no rows."""
        return self._passes(self.stale_devices())

    def device_differences(
        self, device_id: str, counts: Mapping[str, Mapping[Status, int]]
    ) -> dict[str, Differences]:
        """`differences` for one device, of which every state is known already."""
        found: dict[str, Differences] = {}
        rows = {
            row.policy_id: row for row in self._store.results(self._run.run_id, device_id=device_id)
        }
        device = next(self._store.run_devices(self._run.run_id, device_id=device_id))
        for policy_id, states in counts.items():
            (raw,) = states
            row = rows.get(policy_id)
            began = self.began(row) if row is not None and raw in PROBLEMS else None
            pair = (device_id, policy_id)
            state = self._governed.effective(pair, raw, device.last_seen, began).status
            if state.value != raw.value:
                found[policy_id] = {(raw, state): 1}
        return found

    def _rows(self, *, everything: bool) -> Iterator[ResultRow]:
        if everything:
            yield from self._store.results(self._run.run_id)
            return
        for policy_id in self._governed.touched():
            yield from self._store.results(self._run.run_id, policy_id=policy_id)

    def _passes(self, device_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        """What passes on some devices, which are judged again, as the run did."""
        if not device_ids:
            return
        # Only here is anything judged: who merely shows a run need not load the evaluator.
        from fleetmdm.evaluate import compile_policies, run_programs

        selections = run_selections(self._store, self._run)
        programs = compile_policies(self._governed.policies.values(), selections)
        wanted = frozenset(device_ids)
        devices = (
            one for one in self._store.run_devices(self._run.run_id) if one.device_id in wanted
        )
        for batch in _batched(devices):
            for verdict in run_programs(batch, programs, self._run.as_of):
                if verdict.status is Status.PASS:
                    yield verdict.device_id, verdict.policy_id


def judge_now(
    store: FleetStore,
    verdicts: Sequence[Verdict],
    policies: Mapping[str, CompliancePolicy],
    *,
    as_of: datetime,
    stale_after: timedelta,
) -> list[tuple[Verdict, Effective]]:
    """The effective states of verdicts that no run records, by what is known now.

    What failed in the newest run fails since then or earlier; what did not, since `as_of`.
    """
    governed = Governed(
        policies=policies,
        waivers=by_policy(store.waivers()),
        attestations=by_policy(store.attestations()),
        stale_after=stale_after,
        as_of=as_of,
    )
    newest = next(iter(store.runs(limit=1)), None)
    history = None if newest is None else RunStanding(store, newest, policies.values())
    judged = []
    for device_id, group in groupby(verdicts, key=lambda one: one.device_id):
        device = next(store.devices(device_id=device_id))
        began = {}
        if newest is not None and history is not None:
            rows = store.results(newest.run_id, device_id=device_id)
            began = {row.policy_id: history.began(row) for row in rows if row.status in PROBLEMS}
        for one in group:
            since = began.get(one.policy_id, as_of) if one.status in PROBLEMS else None
            pair = (device_id, one.policy_id)
            judged.append((one, governed.effective(pair, one.status, device.last_seen, since)))
    return judged


def judge_rows_now(
    store: FleetStore,
    rows: Iterable[tuple[Device, ResultRow]],
    policies: Mapping[str, CompliancePolicy],
    *,
    as_of: datetime,
    stale_after: timedelta,
) -> Iterator[JudgedRow]:
    """`judge_now` for the loud verdicts of many devices, by device id; it streams."""
    governed = Governed(
        policies=policies,
        waivers=by_policy(store.waivers()),
        attestations=by_policy(store.attestations()),
        stale_after=stale_after,
        as_of=as_of,
    )
    newest = next(iter(store.runs(limit=1)), None)
    history = None if newest is None else RunStanding(store, newest, policies.values())
    past = iter(()) if newest is None else store.results(newest.run_id, statuses=PROBLEMS)
    at = next(past, None)
    for device, row in rows:
        pair = (row.device_id, row.policy_id)
        while at is not None and (at.device_id, at.policy_id) < pair:
            at = next(past, None)
        since = as_of if row.status in PROBLEMS else None
        if since and history and at is not None and (at.device_id, at.policy_id) == pair:
            since = history.began(at)
        state = governed.effective(pair, row.status, device.last_seen, since)
        yield JudgedRow(row, state, since)


def _batched(devices: Iterator[Device]) -> Iterator[list[Device]]:
    while batch := list(islice(devices, _BATCH)):
        yield batch


def by_policy(statements: Iterable[_S]) -> dict[str, list[_S]]:
    """Statements by the policy that they are about."""
    grouped: dict[str, list[_S]] = {}
    for one in statements:
        grouped.setdefault(one.policy_id, []).append(one)
    return grouped


def _covering(statements: Mapping[str, Sequence[_S]], pair: tuple[str, str]) -> tuple[_S, ...]:
    return tuple(one for one in statements.get(pair[1], ()) if pair[0] in one.device_ids)
