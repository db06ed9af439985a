"""How verdicts stood in runs once people and time had had their say: compared, and over many runs.

Effective states have no rows; they follow from what a run pinned. What is read of a run comes by
device id, then policy id, so that two runs are compared side by side.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from fleetmdm.drift import EffectiveSpan, EffectiveTransition
from fleetmdm.engines.replay import silent_states
from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.results import Finding, Run, Status, Transition
from fleetmdm.store.port import FleetStore
from fleetmdm.store.standing import RunStanding

Pair = tuple[str, str]

QUIET: Final = frozenset({EffectiveStatus.PASS, EffectiveStatus.NOT_APPLICABLE})
"""Effective states that no list shows."""


@dataclass(frozen=True, slots=True)
class Stood:
    """How a (device id, policy id) stood in a run."""

    pair: Pair
    raw: Status
    status: EffectiveStatus
    reason: str
    findings: tuple[Finding, ...] = ()


def stood_in(
    store: FleetStore, run: Run, *, device_id: str | None = None, policy_id: str | None = None
) -> Iterator[Stood]:
    """Every pair of which the raw or the effective state is not silent, in order."""
    standing = RunStanding(store, run, store.policies_of_run(run.run_id))
    rows = store.results(run.run_id, device_id=device_id, policy_id=policy_id)
    loud = (
        Stood(
            (each.row.device_id, each.row.policy_id),
            each.row.status,
            each.effective.status,
            each.effective.reason,
            each.row.findings,
        )
        for each in standing.judge(rows)
    )
    stale = (
        Stood(pair, Status.PASS, EffectiveStatus.STALE, "the inventory was too old")
        for pair in standing.stale_passes()
        if device_id in {None, pair[0]} and policy_id in {None, pair[1]}
    )
    return heapq.merge(loud, stale, key=attrgetter("pair"))


def effective_transitions(
    store: FleetStore,
    before: Run,
    after: Run,
    *,
    device_id: str | None = None,
    policy_id: str | None = None,
) -> Iterator[EffectiveTransition]:
    """Pairs whose effective state differs between two runs, in order."""
    was, now = (
        stood_in(store, run, device_id=device_id, policy_id=policy_id) for run in (before, after)
    )
    changed = [
        both
        for both in _side_by_side(was, now)
        if both[0] is None or both[1] is None or both[0].status is not both[1].status
    ]
    quiet_before = silent_states(
        store, before, [new.pair for old, new in changed if new and not old]
    )
    quiet_after = silent_states(store, after, [old.pair for old, new in changed if old and not new])
    for old, new in changed:
        one = _transition(old, new, quiet_before, quiet_after)
        if one.before is not one.after:
            yield one


def _side_by_side(
    was: Iterable[Stood], now: Iterable[Stood]
) -> Iterator[tuple[Stood | None, Stood | None]]:
    old_ones, new_ones = iter(was), iter(now)
    old, new = next(old_ones, None), next(new_ones, None)
    while old is not None or new is not None:
        first = min(one.pair for one in (old, new) if one is not None)
        mine = old if old is not None and old.pair == first else None
        yours = new if new is not None and new.pair == first else None
        yield mine, yours
        old = next(old_ones, None) if mine is not None else old
        new = next(new_ones, None) if yours is not None else new


def _transition(
    old: Stood | None,
    new: Stood | None,
    quiet_before: dict[Pair, Status],
    quiet_after: dict[Pair, Status],
) -> EffectiveTransition:
    known = new or old
    assert known is not None  # noqa: S101 - one of them was read
    raw_before = old.raw if old else quiet_before.get(known.pair)
    raw_after = new.raw if new else quiet_after.get(known.pair)
    raw = Transition(*known.pair, raw_before, raw_after, new.findings if new else ())
    return EffectiveTransition(
        raw,
        old.status if old else _as_effective(raw_before),
        new.status if new else _as_effective(raw_after),
        new.reason if new else "",
    )


def _as_effective(raw: Status | None) -> EffectiveStatus | None:
    return None if raw is None else EffectiveStatus(raw.value)


def effective_spans(
    store: FleetStore,
    runs: Iterable[Run],
    *,
    device_id: str | None = None,
    policy_id: str | None = None,
) -> list[EffectiveSpan]:
    """How pairs stood over some runs, oldest run first; silent states are left out.

    Memory holds what stands at one run and what is answered. Spans come newest first.
    """
    found: list[EffectiveSpan] = []
    standing: dict[Pair, EffectiveSpan] = {}
    for run in runs:
        here: dict[Pair, EffectiveSpan] = {}
        for one in stood_in(store, run, device_id=device_id, policy_id=policy_id):
            if one.status in QUIET:
                continue
            kept = standing.get(one.pair)
            if kept is not None and kept.status is one.status:
                here[one.pair] = standing.pop(one.pair)
            else:
                here[one.pair] = EffectiveSpan(*one.pair, one.status, one.reason, run.run_id)
        found += (replace(span, until_run=run.run_id) for span in standing.values())
        standing = here
    found += standing.values()
    return sorted(found, key=lambda span: (-span.since_run, span.device_id, span.policy_id))
