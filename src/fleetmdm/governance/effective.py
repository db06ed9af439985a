"""What a verdict means once people and time have had their say. Pure.

The raw verdict is never changed; the effective one stands beside it, with its reason and the next
moment at which time alone can change it. In this order, the first that holds:

1. `notchecked` is answered by the newest attestation that has begun: its answer takes the place of
   the raw state; one that has ended makes it `stale`; none leaves it as it is.
2. A problem (fail, error, unknown) under a waiver in force is `waived`; if only waivers that have
   ended cover it, it is `expired_waiver`.
3. What inventory older than `stale_after` said (a problem, a pass) is `stale`.
4. A failure that began less than the policy's grace ago is in `grace`.
5. Else the raw state.

Rule for editors: docs/governance.md and the tests say the same; keep the order in all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from fleetmdm.governance.statements import Answer, Attestation, Statement, Waiver
from fleetmdm.results import ResultRow, Status
from fleetmdm.rfc3339 import encode_time

_S = TypeVar("_S", Waiver, Attestation)

PROBLEMS: Final = frozenset({Status.FAIL, Status.ERROR, Status.UNKNOWN})
"""Raw states that keep a policy from being met."""

_FROM_INVENTORY: Final = PROBLEMS | {Status.PASS, Status.FIXED}
"""Raw states that old inventory makes doubtful."""


class EffectiveStatus(StrEnum):
    """The raw states and what people and time make of them."""

    PASS = "pass"  # noqa: S105 - XCCDF's word, not a secret
    FAIL = "fail"
    ERROR = "error"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "notapplicable"
    NOT_CHECKED = "notchecked"
    NOT_SELECTED = "notselected"
    INFORMATIONAL = "informational"
    FIXED = "fixed"
    WAIVED = "waived"
    EXPIRED_WAIVER = "expired_waiver"
    GRACE = "grace"
    STALE = "stale"


EXCUSED: Final = frozenset({EffectiveStatus.WAIVED, EffectiveStatus.GRACE})
"""Problems that somebody answers for, so that `--fail-on` passes them by."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The effective state; `reason` is empty where it is the raw one by itself."""

    status: EffectiveStatus
    reason: str = ""
    valid_until: datetime | None = None
    """The next moment at which time alone can change status or reason; None is never."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A stored verdict and what became of it."""

    row: ResultRow
    effective: Effective
    failing_since: datetime | None = None
    """The moment of the run at which an unbroken line of problems began; None for other states."""


Differences = Mapping[tuple[Status, EffectiveStatus], int]
"""(raw, effective) -> devices, of one policy, wherever the two differ."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything besides time that an effective state depends on."""

    raw: Status
    last_seen: datetime | None = None
    """When the device's inventory is from; None where that does not matter."""
    stale_after: timedelta = timedelta(0)
    """Zero is never."""
    failing_since: datetime | None = None
    """The `as_of` of the run at which an unbroken line of problems began."""
    grace: timedelta = timedelta(0)
    waivers: tuple[Waiver, ...] = ()
    """Those that cover this device and policy."""
    attestations: tuple[Attestation, ...] = ()


_PLAIN: Final = {raw: Effective(EffectiveStatus(raw.value)) for raw in Status}


def plain_effective(
    raw: Status, last_seen: datetime | None, stale_after: timedelta, *, as_of: datetime
) -> Effective:
    """`effective` where no statement covers a pair and its policy gives no grace; much quicker."""
    if raw is Status.NOT_CHECKED or (last_seen is not None and stale_after):
        if raw in _FROM_INVENTORY and last_seen is not None:
            edge = last_seen + stale_after
            if as_of < edge:
                return Effective(_PLAIN[raw].status, "", edge)
        return effective(Standing(raw, last_seen, stale_after), as_of=as_of)
    return _PLAIN[raw]


def effective(standing: Standing, *, as_of: datetime) -> Effective:
    """The effective state at a moment, and until when it stands by itself."""
    now = _decide(standing, as_of)
    for moment in sorted(one for one in _turns(standing) if one > as_of):
        if _decide(standing, moment) != now:
            return Effective(now.status, now.reason, moment)
    return now


def _turns(standing: Standing) -> Iterator[datetime]:
    """Every moment at which something begins or ends."""
    statements: tuple[Statement, ...] = (*standing.waivers, *standing.attestations)
    for statement in statements:
        yield from (statement.begins_at, statement.ends_at)
    if standing.last_seen is not None and standing.stale_after:
        yield standing.last_seen + standing.stale_after
    if standing.failing_since is not None and standing.grace:
        yield standing.failing_since + standing.grace


def _decide(standing: Standing, moment: datetime) -> Effective:
    if standing.raw is Status.NOT_CHECKED:
        return _answer(standing, moment)
    if standing.raw in PROBLEMS:
        waived = _waive(standing.waivers, moment)
        if waived is not None:
            return waived
    stale = _stale(standing, moment)
    if stale is not None:
        return stale
    if standing.raw is Status.FAIL:
        grace = _grace(standing, moment)
        if grace is not None:
            return grace
    return Effective(EffectiveStatus(standing.raw.value))


def _answer(standing: Standing, moment: datetime) -> Effective:
    """What people vouch for, in the place of a check."""
    newest = _latest(one for one in standing.attestations if one.begins_at <= moment)
    if newest is None:
        return Effective(EffectiveStatus.NOT_CHECKED, "nobody has attested it")
    if newest.ends_at <= moment:
        said = f"attestation {newest.id} went stale at {encode_time(newest.ends_at)}"
        return Effective(EffectiveStatus.STALE, said)
    if newest.answer is Answer.FAIL:
        waived = _waive(standing.waivers, moment)
        if waived is not None:
            return waived
    said = f"attestation {newest.id} by {newest.attested_by}"
    return Effective(EffectiveStatus(newest.answer.value), said)


def _waive(waivers: Iterable[Waiver], moment: datetime) -> Effective | None:
    newest = _latest((one for one in waivers if one.begins_at <= moment), by_end=True)
    if newest is None:
        return None
    if newest.ends_at > moment:
        said = f"waiver {newest.id} until {newest.expires} ({newest.zone}): {newest.reason}"
        return Effective(EffectiveStatus.WAIVED, said)
    said = f"waiver {newest.id} expired on {newest.expires} ({newest.zone})"
    return Effective(EffectiveStatus.EXPIRED_WAIVER, said)


def _stale(standing: Standing, moment: datetime) -> Effective | None:
    if standing.last_seen is None or not standing.stale_after:
        return None
    if standing.raw not in _FROM_INVENTORY or moment < standing.last_seen + standing.stale_after:
        return None
    said = f"the inventory is from {encode_time(standing.last_seen)}"
    return Effective(EffectiveStatus.STALE, said)


def _grace(standing: Standing, moment: datetime) -> Effective | None:
    if standing.failing_since is None or not standing.grace:
        return None
    end = standing.failing_since + standing.grace
    if moment >= end:
        return None
    said = f"fails since {encode_time(standing.failing_since)}, counts from {encode_time(end)}"
    return Effective(EffectiveStatus.GRACE, said)


def _latest(statements: Iterable[_S], *, by_end: bool = False) -> _S | None:
    """The one that ends last, or began last; of two, the one with the later id."""
    return max(
        statements,
        key=lambda one: (one.ends_at if by_end else one.begins_at, one.id),
        default=None,
    )
