"""Checks of one fact that no value can satisfy together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleetmdm.policy import Leaf

_LOWER: Final = {"gt": 1, "gte": 0}
_UPPER: Final = {"lt": 1, "lte": 0}


def contradiction(leaves: Sequence[Leaf]) -> str:
    """Why no value satisfies all of these checks of one key; empty where one may."""
    return _bounds(leaves) or _equalities(leaves) or _presence(leaves)


def _bounds(leaves: Sequence[Leaf]) -> str:
    lower = [(leaf.value, _LOWER[leaf.op]) for leaf in leaves if leaf.op in _LOWER]
    upper = [(leaf.value, _UPPER[leaf.op]) for leaf in leaves if leaf.op in _UPPER]
    for leaf in leaves:
        if leaf.op == "between":
            lower.append((leaf.value[0], 0))
            upper.append((leaf.value[1], 0))
    for low, low_open in lower:
        for high, high_open in upper:
            if low > high or (low == high and (low_open or high_open)):
                return f"nothing is above {low} and below {high}"
    return ""


def _equalities(leaves: Sequence[Leaf]) -> str:
    wanted = [leaf.value for leaf in leaves if leaf.op == "eq"]
    refused = [leaf.value for leaf in leaves if leaf.op == "ne"]
    for place, value in enumerate(wanted):
        if any(repr(other) != repr(value) for other in wanted[place + 1 :]):
            return "it cannot equal two values"
        if any(repr(other) == repr(value) for other in refused):
            return "it cannot both equal a value and not equal it"
    return ""


def _presence(leaves: Sequence[Leaf]) -> str:
    operators = {leaf.op for leaf in leaves}
    if "not_exists" in operators and len(operators) > 1:
        return "it cannot be absent and be compared"
    return ""
