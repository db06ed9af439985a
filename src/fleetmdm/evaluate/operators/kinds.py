"""The kinds of JSON values, and equality that never crosses them.

Python says that True == 1; an auditor does not. Every comparison of facts goes through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_BY_TYPE: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    list: "list",
    tuple: "list",
    dict: "object",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """One of boolean, number, text, list, object, null."""
    kind = _BY_TYPE.get(type(value))
    if kind is None:
        return "object" if isinstance(value, Mapping) else "text"
    return kind


def same(left: Any, right: Any) -> bool:
    """Deep equality; 1 and 1.0 are the same number, True and 1 are not the same."""
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if kind == "list":
        return len(left) == len(right) and all(map(same, left, right))
    if kind == "object":
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return bool(left == right)


def holds(values: Any, wanted: Any) -> bool:
    """`wanted` is among `values`."""
    return any(same(value, wanted) for value in values)


def kinds_meet(left: Any, right: Any) -> bool:
    """Two lists have a kind in common, or one of them is empty."""
    return not left or not right or not set(map(kind_of, left)).isdisjoint(map(kind_of, right))
