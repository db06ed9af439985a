"""What an operator is: a row with its operand check and its exact meaning.

Rule for editors: a comparison answers True or False, or raises `FactFault`; it never turns what
it cannot judge into False.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt


class OperandError(ValueError):
    """A policy's operand that the operator cannot use; the text says why."""


class FactFault(Exception):  # noqa: N818 - it is the fact that is at fault
    """A fact that the operator cannot judge. `reason` is wrong_type, invalid_value or in_future.

    `until` is the next moment at which time alone can change that.
    """

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.until = until


Answer = tuple[bool, datetime | None]
"""Whether it holds, and the next moment at which time alone can change that (None is never)."""

Decide = Callable[[Any], bool]
DecideAt = Callable[[Any, datetime], Answer]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to many facts at once; where `sure` is false, the fact is to be judged by itself."""

    held: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_] | None = None
    ends: npt.NDArray[np.int64] | None = None
    """Microseconds since the epoch, or `times.NEVER`."""


AnswerAll = Callable[[tuple[Any, ...], datetime], Answers]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator with its operand, ready for facts; one of the first two is set."""

    decide: Decide | None = None
    decide_at: DecideAt | None = None
    easy: frozenset[type] = frozenset()
    """The types that `answer_all` takes: those of which it says what `answer` would, only sooner."""
    answer_all: AnswerAll | None = None

    def answer(self, fact: Any, now: datetime) -> Answer:
        """Judge one present fact; raises `FactFault`."""
        if self.decide_at is not None:
            return self.decide_at(fact, now)
        assert self.decide is not None  # noqa: S101 - one of the two is set by construction
        return self.decide(fact), None


def by_column(decide_all: Callable[[Sequence[Any]], Iterable[bool]]) -> AnswerAll:
    """`answer_all` of an operator that judges each easy fact, whatever the time."""

    def answer_all(facts: tuple[Any, ...], _now: datetime) -> Answers:
        return Answers(np.fromiter(decide_all(facts), np.bool_, len(facts)))

    return answer_all


@dataclass(frozen=True, slots=True)
class Operator:
    """One row. `prepare(operand, scheme)` checks the operand; raises `OperandError`."""

    name: str
    facts: str
    """Kinds of facts it judges, for people."""
    operand: str
    """What its operand must be, for people; empty means that it takes none."""
    meaning: str
    prepare: Callable[[Any, str], Comparison]
    presence: bool | None = None
    """For `exists` (True) and `not_exists` (False): the fact's presence is the answer."""
    schemes: tuple[str, ...] = ()
    timely: bool = False
    """Time alone can change its answer."""
    opposite: str = ""
    """The operator that answers the other way round, where there is one."""
