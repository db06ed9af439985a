"""The operators of the policy language: one row each, and nothing else knows their names.

docs/policy-language.md prints this table; tests run every cell of `semantics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fleetmdm.evaluate.operators import comparisons as c
from fleetmdm.evaluate.operators import moments as m
from fleetmdm.evaluate.operators import texts as t
from fleetmdm.evaluate.operators.row import Operator
from fleetmdm.evaluate.operators.versions import SCHEMES

_ANY = "any"
_SCALAR = "boolean, number or text"
_SCALARS = "list of booleans, numbers or texts"
_SIZED = "list, text or object"
_LENGTH = "whole number"
_MOMENT = "date-time, date, `now`, `now+30d`, `now-12h`"
_TIME = "text (RFC 3339)"
_SCHEMES = tuple(SCHEMES)


def _version(name: str, order: c.Order, words: str, opposite: str = "") -> Operator:
    return Operator(
        name=f"version_{name}",
        facts="text (a version)",
        operand="text (a version), with `scheme`",
        meaning=f"the fact's version is {words} the operand's, by the scheme",
        prepare=t.prepare_version(order),
        schemes=_SCHEMES,
        opposite=opposite and f"version_{opposite}",
    )


def _order(name: str, order: c.Order, words: str, opposite: str) -> Operator:
    return Operator(
        name,
        "number",
        "number",
        f"the fact is {words} the operand",
        c.prepare_order(order),
        opposite=opposite,
    )


def _length(name: str, order: c.Order, words: str, opposite: str) -> Operator:
    return Operator(
        f"length_{name}",
        _SIZED,
        _LENGTH,
        f"its members (list, object) or characters (text) are {words} the operand",
        t.prepare_length(order),
        opposite=f"length_{opposite}",
    )


_ROWS = (
    Operator(
        "exists",
        _ANY,
        "",
        "the fact is there and not null; never unknown",
        c.prepare_presence,
        presence=True,
        opposite="not_exists",
    ),
    Operator(
        "not_exists",
        _ANY,
        "",
        "the fact is missing or null; never unknown",
        c.prepare_presence,
        presence=False,
        opposite="exists",
    ),
    Operator(
        "eq",
        "the operand's kind",
        "anything but null",
        "the same value, deeply; 1 is 1.0, true is not 1, case counts",
        c.prepare_equal(wanted=True),
        opposite="ne",
    ),
    Operator(
        "ne",
        "the operand's kind",
        "anything but null",
        "another value of the same kind",
        c.prepare_equal(wanted=False),
        opposite="eq",
    ),
    _order("lt", c.LT, "below", "gte"),
    _order("lte", c.LTE, "at most", "gt"),
    _order("gt", c.GT, "above", "lte"),
    _order("gte", c.GTE, "at least", "lt"),
    Operator(
        "between",
        "number",
        "two numbers",
        "from the first to the second, both included",
        c.prepare_between,
    ),
    Operator(
        "in",
        "a kind among the operand's members",
        _SCALARS,
        "the fact is one of the members",
        c.prepare_in(wanted=True),
        opposite="not_in",
    ),
    Operator(
        "not_in",
        "a kind among the operand's members",
        _SCALARS,
        "the fact is none of the members",
        c.prepare_in(wanted=False),
        opposite="in",
    ),
    Operator(
        "contains",
        "list, text",
        _SCALAR,
        "the operand is a member of the list, or a part of the text",
        c.prepare_contains(wanted=True),
        opposite="not_contains",
    ),
    Operator(
        "not_contains",
        "list, text",
        _SCALAR,
        "the operand is no member of the list, or no part of the text",
        c.prepare_contains(wanted=False),
        opposite="contains",
    ),
    Operator(
        "any_of",
        "list, text",
        _SCALARS,
        "`contains` holds for at least one of the members",
        c.prepare_several(any),
    ),
    Operator(
        "all_of",
        "list, text",
        _SCALARS,
        "`contains` holds for every one of the members",
        c.prepare_several(all),
    ),
    Operator(
        "subset_of",
        "list",
        "list",
        "every member of the fact is a member of the operand",
        c.prepare_set(fact_is_smaller=True),
    ),
    Operator(
        "superset_of",
        "list",
        "list",
        "every member of the operand is a member of the fact",
        c.prepare_set(fact_is_smaller=False),
    ),
    Operator(
        "starts_with",
        "text",
        "text",
        "the text begins with the operand; case counts",
        t.prepare_affix(str.startswith),
    ),
    Operator(
        "ends_with",
        "text",
        "text",
        "the text ends with the operand; case counts",
        t.prepare_affix(str.endswith),
    ),
    Operator(
        "regex",
        "text",
        "RE2 pattern",
        "the pattern is found somewhere in the text; `(?i)` ignores case",
        t.prepare_regex(wanted=True),
        opposite="not_regex",
    ),
    Operator(
        "not_regex",
        "text",
        "RE2 pattern",
        "the pattern is found nowhere in the text",
        t.prepare_regex(wanted=False),
        opposite="regex",
    ),
    _length("eq", c.EQ, "as many as", "ne"),
    _length("ne", c.NE, "not as many as", "eq"),
    _length("lt", c.LT, "fewer than", "gte"),
    _length("lte", c.LTE, "at most", "gt"),
    _length("gt", c.GT, "more than", "lte"),
    _length("gte", c.GTE, "at least", "lt"),
    _version("eq", c.EQ, "equal to"),
    _version("lt", c.LT, "older than", "gte"),
    _version("lte", c.LTE, "older than or equal to", "gt"),
    _version("gt", c.GT, "newer than", "lte"),
    _version("gte", c.GTE, "newer than or equal to", "lt"),
    Operator(
        "before",
        _TIME,
        _MOMENT,
        "the fact's moment is earlier than the operand's",
        m.prepare_before,
        timely=True,
    ),
    Operator(
        "after",
        _TIME,
        _MOMENT,
        "the fact's moment is later than the operand's",
        m.prepare_after,
        timely=True,
    ),
    Operator(
        "within",
        _TIME,
        "duration (`14d`)",
        "the fact's moment lies at most that long back",
        m.prepare_within,
        timely=True,
    ),
    Operator(
        "cidr",
        "text (an address or network)",
        "network, or list of networks",
        "the address lies inside one of the networks",
        t.prepare_cidr,
    ),
)

OPERATORS: Final[Mapping[str, Operator]] = {row.name: row for row in _ROWS}
"""By name, in the order of the documentation."""
