"""The operators by example: what each says of which fact, written down by hand.

docs/policy-language.md prints these rows and the tests run every one of them. Rule for editors:
an outcome here is a promise to those who wrote policies; a new row is welcome, a changed one is a
breaking change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

MOMENT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The `as_of` of the rows about times."""

TRUE, FALSE, UNKNOWN = "true", "false", "unknown"
WRONG_TYPE, INVALID_VALUE, IN_FUTURE = (
    "error: wrong_type",
    "error: invalid_value",
    "error: in_future",
)


class Missing:
    """No such fact."""

    def __repr__(self) -> str:
        return "(missing)"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Cell:
    """One operator with an operand, one fact, and what comes of it."""

    op: str
    operand: Any
    fact: Any
    outcome: str
    scheme: str | None = None


def _rows(
    op: str, operand: Any, facts: list[tuple[Any, str]], scheme: str | None = None
) -> list[Cell]:
    return [Cell(op, operand, fact, outcome, scheme) for fact, outcome in facts]


CELLS: Final[tuple[Cell, ...]] = (
    *_rows(
        "exists",
        None,
        [(0, TRUE), (False, TRUE), ("", TRUE), ([], TRUE), (None, FALSE), (MISSING, FALSE)],
    ),
    *_rows("not_exists", None, [(0, FALSE), ([], FALSE), (None, TRUE), (MISSING, TRUE)]),
    *_rows(
        "eq",
        1,
        [
            (1, TRUE),
            (1.0, TRUE),
            (2, FALSE),
            (True, WRONG_TYPE),
            ("1", WRONG_TYPE),
            ([1], WRONG_TYPE),
            (None, UNKNOWN),
            (MISSING, UNKNOWN),
        ],
    ),
    *_rows("eq", "no", [("no", TRUE), ("No", FALSE), (" no", FALSE), (False, WRONG_TYPE)]),
    *_rows("eq", True, [(True, TRUE), (False, FALSE), (1, WRONG_TYPE), ("true", WRONG_TYPE)]),
    *_rows("eq", ["a", 1], [(["a", 1.0], TRUE), ([1, "a"], FALSE), (["a", True], FALSE)]),
    *_rows("eq", {"a": 1}, [({"a": 1}, TRUE), ({"a": 1, "b": 2}, FALSE), ([], WRONG_TYPE)]),
    *_rows("ne", "no", [("yes", TRUE), ("no", FALSE), (False, WRONG_TYPE), (MISSING, UNKNOWN)]),
    *_rows("lt", 10, [(9, TRUE), (10, FALSE), ("9", WRONG_TYPE), (MISSING, UNKNOWN)]),
    *_rows("lte", 10, [(10, TRUE), (10.5, FALSE), (True, WRONG_TYPE)]),
    *_rows("gt", 10, [(10.5, TRUE), (10, FALSE), (None, UNKNOWN)]),
    *_rows("gte", 10, [(10, TRUE), (9, FALSE), ("10", WRONG_TYPE)]),
    *_rows("between", [1, 4], [(1, TRUE), (4, TRUE), (4.1, FALSE), ("2", WRONG_TYPE)]),
    *_rows(
        "in",
        ["no", "prohibit-password"],
        [("no", TRUE), ("yes", FALSE), (False, WRONG_TYPE), (["no"], WRONG_TYPE)],
    ),
    *_rows("in", [1, "one"], [(1.0, TRUE), ("two", FALSE), (True, WRONG_TYPE)]),
    *_rows("not_in", ["a", "b"], [("c", TRUE), ("a", FALSE), (1, WRONG_TYPE), (MISSING, UNKNOWN)]),
    *_rows(
        "contains",
        "a",
        [
            (["a", "b"], TRUE),
            (["b"], FALSE),
            ([], FALSE),
            ([1, 2], WRONG_TYPE),
            ("cat", TRUE),
            ("dog", FALSE),
            ({"a": 1}, WRONG_TYPE),
        ],
    ),
    *_rows("contains", 1, [([1.0], TRUE), ([True, 2], FALSE), ("1", WRONG_TYPE)]),
    *_rows("not_contains", "a", [(["b"], TRUE), ([], TRUE), (["a"], FALSE), ("cat", FALSE)]),
    *_rows("any_of", ["a", "b"], [(["b", "c"], TRUE), (["c"], FALSE), ("cab", TRUE), ([], FALSE)]),
    *_rows("all_of", ["a", "b"], [(["b", "a"], TRUE), (["a"], FALSE), ("cab", TRUE), ([], FALSE)]),
    *_rows(
        "subset_of",
        ["a", "b"],
        [(["a", "a"], TRUE), ([], TRUE), (["c", "a"], FALSE), ([1], WRONG_TYPE), ("a", WRONG_TYPE)],
    ),
    *_rows("superset_of", ["a", "b"], [(["b", "c", "a"], TRUE), (["a"], FALSE), ([], FALSE)]),
    *_rows("starts_with", "ab", [("abc", TRUE), ("Abc", FALSE), (["ab"], WRONG_TYPE)]),
    *_rows("ends_with", "bc", [("abc", TRUE), ("bcd", FALSE), (1, WRONG_TYPE)]),
    *_rows("regex", "^a.c$", [("abc", TRUE), ("xabc", FALSE), (5, WRONG_TYPE), (MISSING, UNKNOWN)]),
    *_rows("regex", "(?i)B", [("abc", TRUE), ("ac", FALSE)]),
    *_rows("not_regex", "b", [("ac", TRUE), ("abc", FALSE), (["a"], WRONG_TYPE)]),
    *_rows("length_eq", 2, [([1, 2], TRUE), ("ab", TRUE), ({"a": 1}, FALSE), (2, WRONG_TYPE)]),
    *_rows("length_ne", 0, [([1], TRUE), ([], FALSE), ("", FALSE)]),
    *_rows("length_lt", 2, [([1], TRUE), ("ab", FALSE)]),
    *_rows("length_lte", 2, [("ab", TRUE), ("abc", FALSE)]),
    *_rows("length_gt", 0, [("é", TRUE), ([], FALSE), (None, UNKNOWN)]),
    *_rows("length_gte", 1, [({"a": 1}, TRUE), ({}, FALSE), (True, WRONG_TYPE)]),
    *_rows(
        "version_eq",
        "1.0-1",
        [("0:1.0-1", TRUE), ("1.0-1~rc1", FALSE), ("unknown", INVALID_VALUE), (1, WRONG_TYPE)],
        "dpkg",
    ),
    *_rows("version_lt", "1.0", [("1.0~rc1", TRUE), ("1.0-1", FALSE)], "dpkg"),
    *_rows("version_lte", "5.14.0-70", [("5.14.0-70", TRUE), ("5.14.0-362.el9", FALSE)], "rpm"),
    *_rows(
        "version_gt",
        "1.9.0",
        [("1.10.0", TRUE), ("1.9.0-rc.1", FALSE), ("1.10", INVALID_VALUE), (MISSING, UNKNOWN)],
        "semver",
    ),
    *_rows("version_gte", "1.0rc1", [("1.0", TRUE), ("1.0b2", FALSE)], "pep440"),
    *_rows(
        "version_gte",
        "14.4",
        [("14.4.1", TRUE), ("14.4.0", TRUE), ("13.6.9", FALSE), ("23E224", INVALID_VALUE)],
        "macos",
    ),
    *_rows("version_gte", "23E224", [("23F79", TRUE), ("23E214", FALSE)], "macos"),
    *_rows(
        "before",
        "2026-01-01",
        [
            ("2025-12-31T23:59:59Z", TRUE),
            ("2026-01-01T00:00:00Z", FALSE),
            ("2026-01-01T00:30:00+01:00", TRUE),
            ("2025-12-31", INVALID_VALUE),
            (1735689600, WRONG_TYPE),
        ],
    ),
    *_rows(
        "after",
        "now+30d",
        [
            ("2026-04-01T00:00:00Z", TRUE),
            ("2026-03-31T12:00:00Z", FALSE),
            (MISSING, UNKNOWN),
        ],
    ),
    *_rows(
        "within",
        "14d",
        [
            ("2026-02-15T12:00:00Z", TRUE),
            ("2026-02-15T11:59:59Z", FALSE),
            ("2026-03-02T12:00:00Z", TRUE),
            ("2026-03-02T12:00:01Z", IN_FUTURE),
            ("yesterday", INVALID_VALUE),
            (MISSING, UNKNOWN),
        ],
    ),
    *_rows(
        "cidr",
        ["10.0.0.0/8", "fd00::/8"],
        [
            ("10.1.2.3", TRUE),
            ("10.1.0.0/16", TRUE),
            ("fd00::1", TRUE),
            ("192.0.2.1", FALSE),
            ("10.1.2", INVALID_VALUE),
            (10, WRONG_TYPE),
        ],
    ),
)
