"""The comparisons that do not depend on time: equality, order, membership, text, length, network.

Each `prepare_*` takes (operand, scheme) and gives a `Comparison`; see `row` for the rules.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.kinds import holds, kind_of, kinds_meet, same
from fleetmdm.evaluate.operators.row import (
    Answers,
    Comparison,
    FactFault,
    OperandError,
    by_column,
)

MAX_PATTERN_CHARACTERS: Final = 4096
MAX_PATTERN_BYTES: Final = 8 << 20
"""RE2's budget for one compiled pattern and its cache: its own default."""
MAX_QUICK_PROGRAM: Final = 1000
"""Instructions of a pattern that is matched as an RE2 set: several times sooner, but a set whose
automaton has no memory for twenty states says "not found". Those of so many take a tenth of it."""
MAX_OPERANDS: Final = 10_000
"""Members of a list operand."""

WRONG_TYPE: Final = "wrong_type"
INVALID_VALUE: Final = "invalid_value"

Prepare = Callable[[Any, str], Comparison]
Order = Callable[[Any, Any], bool]

MAX_EXACT: Final = 2**53
"""Up to here every whole number has a floating one that is equal to it and to no other."""

TEXT: Final = frozenset({str})
NUMBER: Final = frozenset({int, float})
_EASY: Final[Mapping[str, frozenset[type]]] = {
    "boolean": frozenset({bool}),
    "number": NUMBER,
    "text": TEXT,
}
"""By kind: the types whose values Python itself tells apart and orders as the language does."""


def need(fact: Any, *kinds: str) -> str:
    """The fact's kind, which must be one of `kinds`."""
    kind = kind_of(fact)
    if kind not in kinds:
        raise FactFault(WRONG_TYPE)
    return kind


def need_operand(operand: Any, *kinds: str) -> str:
    """The operand's kind, which must be one of `kinds`."""
    kind = kind_of(operand)
    if kind not in kinds:
        raise OperandError(f"must be {' or '.join(kinds)}, not {kind}")
    return kind


def need_list(operand: Any, *kinds: str) -> Sequence[Any]:
    """The operand as a list that is not empty, with members of the given kinds (any but null)."""
    need_operand(operand, "list")
    if not operand:
        raise OperandError("must not be an empty list")
    if len(operand) > MAX_OPERANDS:
        raise OperandError(f"has more than {MAX_OPERANDS} members")
    for member in operand:
        kind = kind_of(member)
        if kind == "null" or (kinds and kind not in kinds):
            wanted = f"must be {' or '.join(kinds)}, not {kind}" if kinds else "must not be null"
            raise OperandError(f"every member {wanted}")
    return list(operand)


# Presence.


def prepare_presence(operand: Any, _scheme: str) -> Comparison:
    """`exists` and `not_exists`: the evaluator answers from the fact's presence alone."""
    if operand is not None:
        raise OperandError("takes no value")
    return Comparison(decide=lambda _fact: True)


# Equality and order.


def prepare_equal(*, wanted: bool) -> Prepare:
    """`eq` and `ne`: deep equality within one kind."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        kind = need_operand(operand, "boolean", "number", "text", "list", "object")

        def decide(fact: Any) -> bool:
            need(fact, kind)
            return same(fact, operand) is wanted

        test = op.eq if wanted else op.ne
        every = by_column(lambda facts: map(test, facts, repeat(operand)))
        return Comparison(decide, easy=_EASY.get(kind, frozenset()), answer_all=every)

    return prepare


def prepare_order(order: Order) -> Prepare:
    """`lt lte gt gte`: numbers only."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        need_operand(operand, "number")

        def decide(fact: Any) -> bool:
            need(fact, "number")
            return order(fact, operand)

        def answer_all(facts: tuple[float, ...], _now: datetime) -> Answers:
            numbers = _exact(facts) if abs(operand) <= MAX_EXACT else None
            if numbers is not None:
                held: Any = order(numbers, float(operand))
                return Answers(held)
            return Answers(np.fromiter(map(order, facts, repeat(operand)), np.bool_, len(facts)))

        return Comparison(decide, easy=NUMBER, answer_all=answer_all)

    return prepare


@lru_cache(maxsize=4)
def _exact(numbers: tuple[float, ...]) -> npt.NDArray[np.float64] | None:
    """All of them as they are; None where one would be rounded. Shared, as several checks ask."""
    try:
        array = np.array(numbers, dtype=np.float64)
    except OverflowError:
        return None
    return array if (np.abs(array) <= MAX_EXACT).all() else None


def prepare_between(operand: Any, _scheme: str) -> Comparison:
    """Two numbers, both ends included."""
    bounds = need_list(operand, "number")
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise OperandError("must be two numbers, the lower first")
    low, high = bounds

    def decide(fact: Any) -> bool:
        need(fact, "number")
        return bool(low <= fact <= high)

    every = by_column(lambda facts: [low <= fact <= high for fact in facts])
    return Comparison(decide, easy=NUMBER, answer_all=every)


# Membership.


def prepare_in(*, wanted: bool) -> Prepare:
    """`in` and `not_in`: the fact is one of the operand's members."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        members = need_list(operand, "boolean", "number", "text")
        kinds = tuple(sorted(set(map(kind_of, members))))

        def decide(fact: Any) -> bool:
            need(fact, *kinds)
            return holds(members, fact) is wanted

        # Texts are equal to nothing but texts.
        texts = frozenset(members)
        every = by_column(lambda facts: [(fact in texts) is wanted for fact in facts])
        return Comparison(decide, easy=TEXT if "text" in kinds else frozenset(), answer_all=every)

    return prepare


def prepare_contains(*, wanted: bool) -> Prepare:
    """`contains` and `not_contains`: a member of a list, or a part of a text."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        need_operand(operand, "boolean", "number", "text")
        return Comparison(decide=lambda fact: _contains(fact, operand) is wanted)

    return prepare


def _contains(fact: Any, member: Any) -> bool:
    if need(fact, "list", "text") == "text":
        if not isinstance(member, str):
            raise FactFault(WRONG_TYPE)
        return member in fact
    if not kinds_meet(fact, [member]):
        raise FactFault(WRONG_TYPE)
    return holds(fact, member)


def prepare_several(combine: Callable[[Any], bool]) -> Prepare:
    """`any_of` and `all_of`: `contains` for any, or for all, of the operand's members."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        members = need_list(operand, "boolean", "number", "text")

        def decide(fact: Any) -> bool:
            if need(fact, "list", "text") == "text":
                if any(kind_of(member) != "text" for member in members):
                    raise FactFault(WRONG_TYPE)
                return combine(member in fact for member in members)
            if not kinds_meet(fact, members):
                raise FactFault(WRONG_TYPE)
            return combine(holds(fact, member) for member in members)

        return Comparison(decide=decide)

    return prepare


def prepare_set(*, fact_is_smaller: bool) -> Prepare:
    """`subset_of` and `superset_of`, between lists; order and repetition do not count."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        members = need_list(operand)

        def decide(fact: Any) -> bool:
            need(fact, "list")
            if not kinds_meet(fact, members):
                raise FactFault(WRONG_TYPE)
            small, large = (fact, members) if fact_is_smaller else (members, fact)
            return all(holds(large, member) for member in small)

        return Comparison(decide=decide)

    return prepare


EQ, NE, LT, LTE, GT, GTE = op.eq, op.ne, op.lt, op.le, op.gt, op.ge
"""The orders, under the names that the operators have."""
