"""What is wrong with a policy file, where, under a stable code.

Rule for editors: a code is a promise, as in the error table; add rows, keep them sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from fleetmdm.errors import FleetError
from fleetmdm.policy import Position

PROBLEM_CODES: Final[Mapping[str, str]] = {
    "alias": "an anchor or an alias",
    "ambiguous_scalar": "a plain scalar that YAML 1.1 and 1.2 read differently",
    "duplicate_id": "two policies have the same id",
    "duplicate_key": "a mapping has the same key twice",
    "invalid_key": "a fact path that does not follow the grammar",
    "invalid_operand": "a value that the operator cannot use",
    "invalid_regex": "a pattern that RE2 does not take",
    "invalid_value": "a value out of its range or form",
    "missing_key": "a required key is absent",
    "tag": "a tag or a directive",
    "too_deep": "more levels than allowed",
    "too_large": "more bytes, nodes or policies than allowed",
    "unknown_key": "a key that the language does not have",
    "unknown_operator": "an operator that the language does not have",
    "unknown_parameter": "a parameter that the policy does not declare",
    "wrong_type": "a value of another kind than the key takes",
    "yaml_syntax": "not YAML",
}
"""Codes of problems that make a file unusable."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.code}]"

    def as_json(self) -> dict[str, str | int]:
        """The shape of `details.problems`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "message": self.message,
        }


class Problems:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, where: Position, code: str, message: str) -> None:
        """Keep one problem."""
        self.found.append(Problem(self.file, where.line, where.column, code, message))


def refusal(code: str, problems: tuple[Problem, ...], *, hint: str) -> FleetError:
    """The failure that carries these problems: the first one in words, all in its details."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    details = {"problems": [problem.as_json() for problem in problems]}
    return FleetError(code, f"{problems[0]}{more}", hint=hint, details=details)


def suggest(word: str, known: Mapping[str, object] | frozenset[str]) -> str:
    """A hint of the nearest known word, or nothing."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
