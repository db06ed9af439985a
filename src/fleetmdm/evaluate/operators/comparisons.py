"""The comparisons that do not depend on time: equality, order, membership, text, length, network.

Each `prepare_*` takes (operand, scheme) and gives a `Comparison`; see `row` for the rules.
"""

from __future__ import annotations

import ipaddress
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
from fleetmdm.evaluate.operators.versions import SCHEMES, same_shape, version_key

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

        every = by_column(lambda facts: map(order, facts, repeat(operand)))
        return Comparison(decide, easy=NUMBER, answer_all=every)

    return prepare


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


# Text.


def prepare_affix(test: Callable[[str, str], bool]) -> Prepare:
    """`starts_with` and `ends_with`."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        need_operand(operand, "text")
        if not operand:
            raise OperandError("must not be an empty text")

        def decide(fact: Any) -> bool:
            need(fact, "text")
            return test(fact, operand)

        every = by_column(lambda facts: map(test, facts, repeat(operand)))
        return Comparison(decide, easy=TEXT, answer_all=every)

    return prepare


def prepare_regex(*, wanted: bool) -> Prepare:
    """`regex` and `not_regex`: RE2 finds the pattern somewhere in the text."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        need_operand(operand, "text")
        if len(operand) > MAX_PATTERN_CHARACTERS:
            raise OperandError(f"has more than {MAX_PATTERN_CHARACTERS} characters")
        search, found_in = _compile(operand)

        def decide(fact: Any) -> bool:
            need(fact, "text")
            try:
                return (search(fact.encode()) is not None) is wanted
            except UnicodeEncodeError as error:
                raise FactFault(INVALID_VALUE) from error

        if found_in is None:
            return Comparison(decide)

        def answer_all(facts: Sequence[str], _now: datetime) -> Answers:
            plain = "".join(facts).isascii()
            encoded = [fact.encode("utf-8", "ignore") for fact in facts]
            held = np.array([found_in(text) is wanted for text in encoded], dtype=np.bool_)
            # A text without a UTF-8 form is left to `decide`, which says so.
            pairs = () if plain else zip(facts, encoded, strict=True)
            sure = np.array([text.decode() == fact for fact, text in pairs], dtype=np.bool_)
            return Answers(held, None if plain else sure)

        return Comparison(decide, easy=TEXT, answer_all=answer_all)

    return prepare


def _compile(pattern: str) -> tuple[Callable[[bytes], Any], Callable[[bytes], bool] | None]:
    """How to search a text, and a quicker way where there is one."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    encoded = b""
    try:
        encoded = pattern.encode()
        compiled = re2.compile(encoded, options)
        quick = re2.Set.SearchSet(options)
        quick.Add(encoded)
        quick.Compile()
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise OperandError(f"is not an RE2 pattern: {text}") from error

    if compiled.programsize > MAX_QUICK_PROGRAM:
        return compiled.search, None
    return compiled.search, lambda text: bool(quick.Match(text))


# Length.


def prepare_length(order: Order) -> Prepare:
    """`length_*`: members of a list or object, characters of a text."""

    def prepare(operand: Any, _scheme: str) -> Comparison:
        if type(operand) is not int or operand < 0:
            raise OperandError("must be a whole number, not negative")

        def decide(fact: Any) -> bool:
            need(fact, "list", "text", "object")
            return order(len(fact), operand)

        every = by_column(lambda facts: map(order, map(len, facts), repeat(operand)))
        return Comparison(decide, easy=TEXT, answer_all=every)

    return prepare


# Versions.


def prepare_version(order: Order) -> Prepare:
    """`version_*`: by the sort keys of the scheme."""

    def prepare(operand: Any, scheme: str) -> Comparison:
        if scheme not in SCHEMES:
            raise OperandError(f"needs scheme: one of {', '.join(SCHEMES)}")
        if need_operand(operand, "text", "number") == "number":
            raise OperandError("must be text: quote the version")
        try:
            bound = version_key(scheme, operand)
        except ValueError as error:
            raise OperandError(str(error)) from error

        def decide(fact: Any) -> bool:
            need(fact, "text")
            try:
                key = version_key(scheme, fact)
            except ValueError as error:
                raise FactFault(INVALID_VALUE) from error
            if not same_shape(scheme, key, bound):
                raise FactFault(INVALID_VALUE)
            return order(key, bound)

        return Comparison(decide=decide)

    return prepare


# Networks.


def prepare_cidr(operand: Any, _scheme: str) -> Comparison:
    """The fact is an address, or a network, inside one of the operand's networks."""
    texts = [operand] if isinstance(operand, str) else need_list(operand, "text")
    try:
        networks = [ipaddress.ip_network(text) for text in texts]
    except ValueError as error:
        raise OperandError(f"is not a network: {error}") from error

    def decide(fact: Any) -> bool:
        need(fact, "text")
        try:
            inside: Any = ipaddress.ip_network(fact, strict=False)
        except ValueError as error:
            raise FactFault(INVALID_VALUE) from error
        return any(
            network.version == inside.version and inside.subnet_of(network) for network in networks
        )

    wanted = [
        (int(network.network_address), int(network.netmask))
        for network in networks
        if network.version == 4
    ]

    def answer_all(facts: Sequence[str], _now: datetime) -> Answers:
        addresses = _plain_addresses(tuple(facts))
        held = np.zeros(len(facts), dtype=np.bool_)
        for network, mask in wanted:
            held |= (addresses & mask) == network
        return Answers(held, sure=addresses >= 0)

    return Comparison(decide, easy=TEXT, answer_all=answer_all)


_OCTETS: Final = {str(number): number for number in range(256)}


@lru_cache(maxsize=2)
def _plain_addresses(texts: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Remembered because several checks ask about one column in turn."""
    return np.array([_plain_ipv4(text) for text in texts], dtype=np.int64)


def _plain_ipv4(text: str) -> int:
    """The number of an address written as four numbers; -1 for whatever else it may be."""
    try:
        a, b, c, d = text.split(".")
        return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
    except (ValueError, KeyError):
        return -1


EQ, NE, LT, LTE, GT, GTE = op.eq, op.ne, op.lt, op.le, op.gt, op.ge
"""The orders, under the names that the operators have."""
