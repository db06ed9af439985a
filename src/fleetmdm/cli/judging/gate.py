"""`--fail-on`: which states make `check` and `report` exit with 1, and the settings beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError
from fleetmdm.evaluate.operators.times import parse_duration
from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.report.model import PROBLEM_STATES, PolicyLine
from fleetmdm.results import Status

GatingState = Status | EffectiveStatus

_EFFECTIVE = (EffectiveStatus.EXPIRED_WAIVER, EffectiveStatus.STALE)
_KNOWN: dict[str, GatingState] = {
    **{state.value: state for state in PROBLEM_STATES},
    **{state.value: state for state in _EFFECTIVE},
}

FAIL_ON_HELP = (
    f"Exit with 1 where a device has this state: {', '.join(_KNOWN)}; may be repeated. "
    "What is waived or in grace does not count."
)


def fail_states(call: FleetCall, given: Sequence[str]) -> tuple[GatingState, ...]:
    """The states that make a command exit with 1; raises `usage`."""
    words = given or call.setting("check.fail_on")
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in _KNOWN:
            raise FleetError("usage", f"--fail-on is one of {', '.join(_KNOWN)}, not {name!r}")
    return tuple(_KNOWN[name] for name in dict.fromkeys(names))


def policy_failures(
    lines: Iterable[PolicyLine], states: Sequence[GatingState]
) -> FleetError | None:
    """The failure to exit with, where a named state occurs.

    A raw state counts where nobody answers for it; an effective one wherever it stands.
    """
    many = list(lines)
    counted = {state.value: sum(_occurrences(line, state) for line in many) for state in states}
    hit = {state: count for state, count in counted.items() if count}
    if not hit:
        return None
    said = ", ".join(f"{count} {state}" for state, count in hit.items())
    return FleetError(
        "policy_failures", f"found: {said}", hint="fleetmdm report shows them", details=hit
    )


def _occurrences(line: PolicyLine, state: GatingState) -> int:
    if isinstance(state, Status):
        return line.count_open(state)
    return sum(count for (_, other), count in line.differences.items() if other is state)


def stale_after(call: FleetCall) -> timedelta:
    """How old inventory may be; zero is any age. Raises `config_invalid`."""
    try:
        return parse_duration(call.setting("check.stale_after"))
    except ValueError as error:
        hint = "0d lets inventory be of any age"
        raise FleetError("config_invalid", f"check.stale_after: {error}", hint=hint) from None
