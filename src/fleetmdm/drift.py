"""What changed between two runs: transitions grouped, counted and ordered for a reader. Pure.

Rule for editors: a device or policy that only one run knew is not drift of a verdict; it has a
group of its own, which is shown when asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleetmdm.governance.effective import EXCUSED, EffectiveStatus
from fleetmdm.results import SILENT, Status, Transition


class Change(StrEnum):
    """What a transition means to whoever runs the fleet."""

    REGRESSED = "regressed"
    """Passed, did not apply or was not asked; now it does not pass."""
    RESOLVED = "resolved"
    """Did not pass; now it passes, no longer applies or is no longer asked."""
    ALTERED = "altered"
    """In another state than before, and neither better nor worse for it."""
    NEW = "new"
    """The earlier run did not know the device or the policy."""
    VANISHED = "vanished"
    """The later run no longer knows the device or the policy."""


@dataclass(frozen=True, slots=True)
class EffectiveTransition:
    """A pair whose effective state differs between two runs; None is a pair that a run did not know."""

    transition: Transition
    """Its raw states, which may be alike."""
    before: EffectiveStatus | None
    after: EffectiveStatus | None
    reason: str = ""
    """Why it stands so in the later run."""


@dataclass(frozen=True, slots=True)
class EffectiveSpan:
    """Runs over which a pair stood as it did: from one up to, not including, another."""

    device_id: str
    policy_id: str
    status: EffectiveStatus
    reason: str
    """At the first of them."""
    since_run: int
    until_run: int | None = None


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One transition and what it means; of effective states, if those were compared."""

    change: Change
    transition: Transition
    effective: EffectiveTransition | None = None


@dataclass(frozen=True, slots=True)
class Strangers:
    """Ids that only one of the two runs knew, by kind."""

    devices: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()

    def has(self, transition: Transition) -> bool:
        """Whether the transition's device or policy is among them."""
        return transition.device_id in self.devices or transition.policy_id in self.policies


@dataclass(frozen=True, slots=True)
class Drift:
    """The rows in order: by change, then device, then policy; and their counts."""

    rows: tuple[DriftRow, ...]
    counts: Mapping[Change, int]
    by_policy: Mapping[str, Mapping[Change, int]]


def judge_drift(transitions: Iterable[Transition], *, new: Strangers, vanished: Strangers) -> Drift:
    """Group transitions; verdicts of strangers are `new` or `vanished`, whatever their state."""
    return _sum_up(
        DriftRow(_change(one, new, vanished, was=_quiet(one.before), now=_quiet(one.after)), one)
        for one in transitions
    )


def judge_effective_drift(
    transitions: Iterable[EffectiveTransition], *, new: Strangers, vanished: Strangers
) -> Drift:
    """`judge_drift` by effective states, of which those that somebody answers for are no worse."""
    rows = []
    for one in transitions:
        was, now = _calm(one.before), _calm(one.after)
        change = _change(one.transition, new, vanished, was=was, now=now)
        rows.append(DriftRow(change, one.transition, one))
    return _sum_up(rows)


def _sum_up(found: Iterable[DriftRow]) -> Drift:
    rows = list(found)
    order = list(Change)
    rows.sort(
        key=lambda row: (
            order.index(row.change),
            row.transition.device_id,
            row.transition.policy_id,
        )
    )
    by_policy: dict[str, Counter[Change]] = {}
    for row in rows:
        by_policy.setdefault(row.transition.policy_id, Counter())[row.change] += 1
    counts = Counter(row.change for row in rows)
    return Drift(tuple(rows), {change: counts[change] for change in order}, by_policy)


def without_strangers(drift: Drift) -> Drift:
    """The same drift without what only one run knew."""
    return _sum_up(row for row in drift.rows if row.change not in {Change.NEW, Change.VANISHED})


def _change(
    transition: Transition, new: Strangers, vanished: Strangers, *, was: bool, now: bool
) -> Change:
    if vanished.has(transition):
        return Change.VANISHED
    if new.has(transition):
        return Change.NEW
    if was == now:
        return Change.ALTERED
    return Change.REGRESSED if was else Change.RESOLVED


def _quiet(status: Status | None) -> bool:
    """A policy that is not asked of a device says nothing against it."""
    return status is None or status in SILENT or status is Status.NOT_SELECTED


def _calm(status: EffectiveStatus | None) -> bool:
    return status is None or status in _CALM


_CALM: Final = EXCUSED | {
    EffectiveStatus.PASS,
    EffectiveStatus.NOT_APPLICABLE,
    EffectiveStatus.NOT_SELECTED,
}
