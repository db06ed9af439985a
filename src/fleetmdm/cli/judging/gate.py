"""`--fail-on`: what makes `check`, `report` and `drift` exit with 1, and the settings beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError
from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.report.model import PROBLEM_STATES, PolicyLine
from fleetmdm.results import Status

GatingState = Status | EffectiveStatus

DRIFT: Final = "drift"
"""Of the gates: verdicts differ from those of the run before."""

_EFFECTIVE = (EffectiveStatus.EXPIRED_WAIVER, EffectiveStatus.STALE)
_KNOWN: dict[str, GatingState] = {
    **{state.value: state for state in PROBLEM_STATES},
    **{state.value: state for state in _EFFECTIVE},
}

FAIL_ON_HELP = (
    f"Exit with 1 where a device has this state: {', '.join(_KNOWN)}; or, with {DRIFT}, where a "
    "verdict is not what it was in the run before; may be repeated. What is waived or in grace "
    "does not count."
)


@dataclass(frozen=True, slots=True)
class Gate:
    """What makes a command exit with 1."""

    states: tuple[GatingState, ...] = ()
    drift: bool = False


def parse_gate(call: FleetCall, given: Sequence[str], *, drift: bool = True) -> Gate:
    """What was asked for, or what the settings say; raises `usage`.

    Without `drift` there is no earlier run to compare with.
    """
    names = split_words(given or call.setting("check.fail_on"), (*_KNOWN, DRIFT))
    if DRIFT in names and not drift and given:
        hint = "leave out --live, --device or drift"
        raise FleetError("usage", "--fail-on drift compares recorded runs", hint=hint)
    states = tuple(_KNOWN[name] for name in names if name in _KNOWN)
    return Gate(states, drift and DRIFT in names)


def split_words(given: Sequence[str], known: Sequence[str]) -> list[str]:
    """The words of repeated options, each perhaps a list; raises `usage` for a strange one."""
    names = [name.strip() for word in given for name in word.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise FleetError("usage", f"--fail-on is one of {', '.join(known)}, not {name!r}")
    return list(dict.fromkeys(names))


def gate_failure(lines: Iterable[PolicyLine], gate: Gate, *, changed: int = 0) -> FleetError | None:
    """The failure to exit with, where a named state occurs or, by the gate, a verdict changed.

    A raw state counts where nobody answers for it; an effective one wherever it stands.
    """
    many = list(lines)
    counted = {
        state.value: sum(_occurrences(line, state) for line in many) for state in gate.states
    }
    hit = {state: count for state, count in counted.items() if count}
    if gate.drift and changed:
        hit[DRIFT] = changed
    if not hit:
        return None
    said = ", ".join(f"{count} {state}" for state, count in hit.items())
    if set(hit) == {DRIFT}:
        hint = "fleetmdm drift shows them"
        message = f"verdicts that are not what they were in the run before: {changed}"
        return FleetError("drift_found", message, hint=hint, details=hit)
    return FleetError(
        "policy_failures", f"found: {said}", hint="fleetmdm report shows them", details=hit
    )


def _occurrences(line: PolicyLine, state: GatingState) -> int:
    if isinstance(state, Status):
        return line.count_open(state)
    return sum(count for (_, other), count in line.differences.items() if other is state)


def stale_after(call: FleetCall) -> timedelta:
    """How old inventory may be; zero is any age. Raises `config_invalid`."""
    from fleetmdm.evaluate.operators.times import parse_duration

    try:
        return parse_duration(call.setting("check.stale_after"))
    except ValueError as error:
        hint = "0d lets inventory be of any age"
        raise FleetError("config_invalid", f"check.stale_after: {error}", hint=hint) from None
