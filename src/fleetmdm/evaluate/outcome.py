"""What a check can be (Kleene's logic with two ways of not knowing), and how groups combine it.

`all` is the least of its members in the order of these codes, so false wins, then error, then
unknown, and a member that is not applicable never decides. `any` is De Morgan's: turn each member
over, take the least, turn back; error and unknown stay themselves when turned.
Rule for editors: the tables below, docs/policy-language.md and the oracle in tests/property say
the same thing three times, on purpose.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from fleetmdm.policy import Combine, OnMissing
from fleetmdm.results import Status

Codes = npt.NDArray[np.int8]


class Outcome(IntEnum):
    """One check of one device. The order is the order of `all`."""

    FALSE = 0
    ERROR = 1
    UNKNOWN = 2
    TRUE = 3
    NOT_APPLICABLE = 4


OPPOSITE: Final = np.array([3, 1, 2, 0, 4], dtype=np.int8)
"""`not`, by code."""

STATUS: Final[tuple[Status, ...]] = (
    Status.FAIL,
    Status.ERROR,
    Status.UNKNOWN,
    Status.PASS,
    Status.NOT_APPLICABLE,
)
"""What a policy's outcome is called in a result, by code."""

_MISSING: Final = {
    OnMissing.UNKNOWN: Outcome.UNKNOWN,
    OnMissing.PASS: Outcome.TRUE,
    OnMissing.FAIL: Outcome.FALSE,
    OnMissing.NOT_APPLICABLE: Outcome.NOT_APPLICABLE,
}


def missing_outcome(wish: OnMissing, *, negated: bool) -> Outcome:
    """What a leaf is when its fact is missing; `wish` speaks of the policy, not of the leaf."""
    outcome = _MISSING[wish]
    return Outcome(int(OPPOSITE[outcome])) if negated else outcome


def combine(how: Combine, members: list[Codes]) -> Codes:
    """The outcome of a group from those of its members."""
    if how is Combine.ALL:
        return _least(members)
    if how is Combine.NOT:
        return OPPOSITE[members[0]]
    if how is Combine.WHEN:
        return _when(members[0], members[1])
    # De Morgan: any = not all(not ...), none = all(not ...).
    nothing = _least([OPPOSITE[member] for member in members])
    return nothing if how is Combine.NONE else OPPOSITE[nothing]


def _least(members: list[Codes]) -> Codes:
    least: Codes = np.minimum.reduce(members)
    return least


def _when(condition: Codes, check: Codes) -> Codes:
    """The check where the condition holds; nothing applies where it does not."""
    off = (condition == Outcome.FALSE) | (condition == Outcome.NOT_APPLICABLE)
    held = np.where(condition == Outcome.TRUE, check, condition)
    return np.where(off, np.int8(Outcome.NOT_APPLICABLE), held).astype(np.int8)
