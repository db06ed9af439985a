"""The comparisons of texts: affixes, patterns, lengths, versions, networks.

Each `prepare_*` takes (operand, scheme) and gives a `Comparison`; see `row` for the rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.comparisons import (
    INVALID_VALUE,
    MAX_PATTERN_BYTES,
    MAX_PATTERN_CHARACTERS,
    MAX_QUICK_PROGRAM,
    TEXT,
    Order,
    Prepare,
    need,
    need_list,
    need_operand,
)
from fleetmdm.evaluate.operators.row import (
    Answers,
    Comparison,
    FactFault,
    OperandError,
    by_column,
)
from fleetmdm.evaluate.operators.versions import SCHEMES, same_shape, version_key

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

        def answer_all(facts: tuple[str, ...], _now: datetime) -> Answers:
            plain = "".join(facts).isascii()
            encoded = [fact.encode("utf-8", "ignore") for fact in facts]
            found = np.fromiter(map(bool, map(found_in, encoded)), np.bool_, len(encoded))
            held = found if wanted else ~found
            # A text without a UTF-8 form is left to `decide`, which says so.
            pairs = () if plain else zip(facts, encoded, strict=True)
            sure = np.array([text.decode() == fact for fact, text in pairs], dtype=np.bool_)
            return Answers(held, None if plain else sure)

        return Comparison(decide, easy=TEXT, answer_all=answer_all)

    return prepare


def _compile(pattern: str) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any] | None]:
    """How to search a text, and a quicker way where there is one; found is what is true."""
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
    # Its own method only asks whether the text has to be encoded, which costs as much as the match.
    return compiled.search, getattr(quick, "_set", quick).Match


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

    def answer_all(facts: tuple[str, ...], _now: datetime) -> Answers:
        addresses = _plain_addresses(facts)
        held = np.zeros(len(facts), dtype=np.bool_)
        for network, mask in wanted:
            held |= (addresses & mask) == network
        return Answers(held, sure=addresses >= 0)

    return Comparison(decide, easy=TEXT, answer_all=answer_all)


_OCTETS: Final = {str(number): number for number in range(256)}
_WEIGHTS: Final = np.array([1 << 24, 1 << 16, 1 << 8, 1], dtype=np.int64)


@lru_cache(maxsize=2)
def _plain_addresses(texts: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Remembered because several checks ask about one column in turn."""
    if list(map(str.count, texts, repeat("."))).count(3) == len(texts):
        octets = list(map(_OCTETS.get, ".".join(texts).split(".")))
        if None not in octets:
            table = np.array(octets, dtype=np.int64).reshape(len(texts), 4)
            return table @ _WEIGHTS
    return np.array([_plain_ipv4(text) for text in texts], dtype=np.int64)


def _plain_ipv4(text: str) -> int:
    """The number of an address written as four numbers; -1 for whatever else it may be."""
    try:
        a, b, c, d = text.split(".")
        return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
    except (ValueError, KeyError):
        return -1
