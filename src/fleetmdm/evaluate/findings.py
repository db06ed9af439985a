"""What is said of a device that a policy did not pass: one finding for each leaf that spoke.

A leaf is named where its outcome, seen through the negations above it, kept the policy from
passing: false, error or unknown; or true below `not` and `none`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fleetmdm.evaluate.fact_path import Absent, Elements, render_path
from fleetmdm.evaluate.leaves import Decided, decide_element
from fleetmdm.evaluate.outcome import Outcome
from fleetmdm.evaluate.program import NEGATING, CompiledLeaf
from fleetmdm.policy import Combine
from fleetmdm.results import Finding

# An attribute of an enumeration costs more than the comparison around it.
_FALSE, _TRUE = int(Outcome.FALSE), int(Outcome.TRUE)
_NOT_APPLICABLE = int(Outcome.NOT_APPLICABLE)

MAX_TEXT_CHARACTERS = 1024
"""Of one observed text; a longer one is cut, and ends with an ellipsis."""


def find(node: Decided, place: int, now: datetime, *, negated: bool = False) -> Iterator[Finding]:
    """The findings below a node for the device at `place`, in the order of the policy."""
    outcome = node.outcomes[place]
    if outcome in (_FALSE if negated else _TRUE, _NOT_APPLICABLE):
        return
    if node.leaf is not None and node.column is not None:
        value = node.column.values[node.column.codes[place]]
        yield make_finding(node.leaf, value, now, negated=negated)
    elif node.combine is Combine.WHEN:
        condition, check = node.members
        yield from find(condition, place, now)
        if condition.outcomes[place] == _TRUE:
            yield from find(check, place, now, negated=negated)
    else:
        below = negated ^ (node.combine in NEGATING)
        for member in node.members:
            yield from find(member, place, now, negated=below)


def make_finding(leaf: CompiledLeaf, value: Any, now: datetime, *, negated: bool) -> Finding:
    """The finding of one leaf. `negated`: where it held, it should not have."""
    key, observed, others = leaf.leaf.key, value, ""
    if isinstance(value, Elements):
        wrong = _offenders(leaf, value, now)
        where, observed = wrong[0]
        key = render_path(where)
        others = f" ({len(wrong)} of {len(value.items)} elements)" if len(value.items) > 1 else ""
    decision = decide_element(leaf, observed, now)
    return Finding(
        check=leaf.leaf.path,
        key=key,
        op=leaf.leaf.op,
        expected=leaf.leaf.value,
        observed=None if isinstance(observed, Absent) else _bounded(observed),
        reason=decision.reason or "unwanted",
        message=(leaf.leaf.message or _sentence(leaf, key, negated=negated)) + others,
    )


def _offenders(leaf: CompiledLeaf, value: Elements, now: datetime) -> list[Any]:
    """The elements that made the leaf what it is: the least of them all."""
    decided = [(item, decide_element(leaf, item[1], now).outcome) for item in value.items]
    worst = min(outcome for _, outcome in decided)
    return [item for item, outcome in decided if outcome is worst]


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return value[: MAX_TEXT_CHARACTERS - 1] + "…"
    return value


def _sentence(leaf: CompiledLeaf, key: str, *, negated: bool) -> str:
    wish = "must not hold" if negated else "must hold"
    operand = "" if leaf.leaf.value is None else f" {write_operand(leaf.leaf.value)}"
    return f"{wish}: {key} {leaf.leaf.op}{operand}"


def write_operand(value: Any) -> str:
    """An operand for people, as YAML would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_operand, value)) + "]"
    return str(value)
