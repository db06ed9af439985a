"""Everything wrong with a configuration, gathered so that it is reported at once.

Rule for editors: where all problems share a code the failure carries it; a mixture is
`config_invalid`. Nothing may be used of a configuration that has a problem.
"""

from __future__ import annotations

from collections.abc import Iterable

from clikit.config import ConfigError, Problem
from secretivex.errors import SecretiveError


class Problems:
    """Problems and warnings in the order they were found."""

    def __init__(self) -> None:
        self._found: list[tuple[Problem, str]] = []
        self.warnings: list[Problem] = []

    def add(self, problem: Problem, code: str = "config_invalid") -> None:
        """One thing that must be put right before the agent may start."""
        self._found.append((problem, code))

    @property
    def count(self) -> int:
        """How many were found so far."""
        return len(self._found)

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Several things that make the configuration invalid."""
        for problem in problems:
            self.add(problem)

    def warn(self, where: str, key: str, reason: str, hint: str = "") -> None:
        """One thing that a person should know and that stops nothing."""
        self.warnings.append(Problem(where, key, reason, hint))

    def raise_any(self) -> None:
        """Raise `SecretiveError` with one line for each problem, if there is one."""
        if not self._found:
            return
        self._found.sort(key=lambda item: _line(item[0]))
        codes = {code for _, code in self._found}
        details = [
            {"where": p.where, "key": p.key, "reason": p.reason, "hint": p.hint, "code": code}
            for p, code in self._found
        ]
        raise SecretiveError(
            codes.pop() if len(codes) == 1 else "config_invalid",
            "\n".join(str(problem) for problem, _ in self._found),
            details={"problems": details},
        )


def _line(problem: Problem) -> int:
    """The line a problem stands at; problems outside the file come first."""
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def as_secretive_error(error: ConfigError) -> SecretiveError:
    """The same failure with our table of codes."""
    return SecretiveError(error.code, error.message, hint=error.hint, details=error.details)


MAX_FIELD = 400
"""Characters of one field of a problem that `list_problems` tells: a key may be as long as a file."""


def list_problems(error: SecretiveError, most: int) -> tuple[dict[str, str], ...]:
    """The first problems of a configuration, each by itself; a failure as a whole is one, of no key."""
    whole = {"where": "", "key": "", "reason": error.message, "hint": error.hint}
    found: list[dict[str, str]] = error.details.get("problems") or [whole]
    told = ({**problem, "code": problem.get("code", error.code)} for problem in found[:most])
    return tuple({name: text[:MAX_FIELD] for name, text in one.items()} for one in told)


def place_of(origin: str) -> str:
    """`file:line` of an origin in the file; of any other layer, its name."""
    if origin.startswith("env "):
        return f"environment {origin.removeprefix('env ')}"
    return "command line" if origin == "flag" else origin.removeprefix("file ")
