"""Mutation of checks: a policy with one check made wrong is a mutant; its tests must notice it.

Pure. Rule for editors: a mutant must mean something else for some device, or nobody can write the
test that notices it; leave out what may well mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from ipaddress import ip_network
from itertools import islice
from typing import Any, Final

from fleetmdm.evaluate.examples import run_tests
from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.operators.row import OperandError
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Node

MUTATION_CODES: Final[Mapping[str, str]] = {
    "negation_unnoticed": "a check can be turned into its opposite and every test still holds",
    "no_tests": "the policy has no tests",
    "shift_unnoticed": "the value of a check can be shifted and every test still holds",
}
"""Every code that `policy test --mutate` can give."""

_LAST_NUMBER = re.compile(r"[0-9]+(?=[^0-9]*\Z)", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?=\Z|[Tt ])", re.ASCII)
_NUMBERS: Final = frozenset({"lt", "lte", "gt", "gte"})
_TEXTS: Final = frozenset({"contains", "not_contains", "starts_with", "ends_with"})
_MEMBERS: Final = frozenset({"in", "not_in", "any_of", "all_of", "subset_of", "superset_of"})
_PATTERNS: Final = frozenset({"regex", "not_regex"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A policy with one leaf made wrong; `code` is what to say where no test notices."""

    policy: CompliancePolicy
    leaf: Leaf
    code: str
    change: str


def mutants(policy: CompliancePolicy) -> Iterator[Mutant]:
    """Every mutant of a policy, by leaf in the order of the policy."""
    targets = policy.targets
    roots = [targets.os_version, targets.where, policy.check]
    for leaf in (leaf for root in roots if root is not None for leaf in _leaves(root)):
        opposite, change = _negated(leaf)
        yield Mutant(_with(policy, leaf, opposite), leaf, "negation_unnoticed", change)
        for value in _shifts(leaf):
            if _is_operand(leaf, value):
                change = f"{leaf.value!r} as {value!r}"
                shifted = _with(policy, leaf, replace(leaf, value=value))
                yield Mutant(shifted, leaf, "shift_unnoticed", change)


def is_noticed(mutant: Mutant) -> bool:
    """At least one test of the policy gives another state than it expects."""
    return any(not outcome.passed for outcome in run_tests(mutant.policy))


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
        return
    for member in node.members:
        yield from _leaves(member)


# Putting another check in a leaf's place.


def _with(policy: CompliancePolicy, leaf: Leaf, other: Node) -> CompliancePolicy:
    targets = policy.targets
    if targets.os_version is leaf:
        # What stands there is one leaf; the condition that it becomes may be any check.
        both = tuple(node for node in (other, targets.where) if node is not None)
        where = Group("targets.where", Combine.ALL, both, leaf.position)
        return replace(policy, targets=replace(targets, os_version=None, where=where))
    if targets.where is not None:
        targets = replace(targets, where=_replaced(targets.where, leaf, other))
    members = tuple(_replaced(member, leaf, other) for member in policy.check.members)
    return replace(policy, targets=targets, check=replace(policy.check, members=members))


def _replaced(node: Node, leaf: Leaf, other: Node) -> Node:
    if node is leaf:
        return other
    if isinstance(node, Leaf):
        return node
    return replace(node, members=tuple(_replaced(each, leaf, other) for each in node.members))


def _negated(leaf: Leaf) -> tuple[Node, str]:
    opposite = OPERATORS[leaf.op].opposite
    if opposite:
        return replace(leaf, op=opposite), f"{leaf.op} as {opposite}"
    return Group(leaf.path, Combine.NOT, (leaf,), leaf.position), f"{leaf.op} as its opposite"


# Shifted operands.


def _is_operand(leaf: Leaf, value: Any) -> bool:
    try:
        OPERATORS[leaf.op].prepare(value, leaf.scheme or "")
    except OperandError:
        return False
    return True


def _shifts(leaf: Leaf) -> Iterator[Any]:
    """Operands next to the leaf's; the operator may not take all of them."""
    value = leaf.value
    if leaf.op in _NUMBERS or leaf.op.startswith("length_"):
        yield from _near(value)
    elif leaf.op == "between":
        yield from ([near, value[1]] for near in _near(value[0]))
        yield from ([value[0], near] for near in _near(value[1]))
    elif leaf.op in ("eq", "ne"):
        yield from _others(value)
    elif leaf.op in _TEXTS and isinstance(value, str):
        yield f"{value[:-1]}{'-' if value.endswith('~') else '~'}"
    elif leaf.op in _MEMBERS and isinstance(value, list):
        yield from _members(value)
    elif leaf.op in _PATTERNS:
        yield f"{value}~"
    elif leaf.op == "cidr":
        yield from _networks(value)
    elif leaf.op.startswith("version_"):
        yield from _renumbered(value)
    elif OPERATORS[leaf.op].timely:
        day = _DAY.match(value)
        yield from _renumbered(value) if day is None else _next_days(value, day)


def _members(values: list[Any]) -> Iterator[list[Any]]:
    """Each member left out in turn, and the first of them shifted."""
    if len(values) > 1:
        for place in range(len(values)):
            yield [*values[:place], *values[place + 1 :]]
    for shifted in islice(_others(values[0]), 1):
        yield [shifted, *values[1:]]


def _networks(value: Any) -> Iterator[Any]:
    """A list without each of its networks, or the one network by its half and its double."""
    if isinstance(value, list) and len(value) > 1:
        for place in range(len(value)):
            yield [*value[:place], *value[place + 1 :]]
        return
    try:
        network = ip_network(value[0] if isinstance(value, list) else value, strict=False)
    except ValueError:
        return
    if network.prefixlen < network.max_prefixlen:
        yield str(next(iter(network.subnets())))
    if network.prefixlen:
        yield str(network.supernet())


def _next_days(text: str, day: re.Match[str]) -> Iterator[str]:
    """The date that a fixed moment names, a day earlier and a day later."""
    for step in (-1, 1):
        try:
            other = date.fromisoformat(day[0]) + timedelta(days=step)
        except (ValueError, OverflowError):
            continue
        yield f"{other.isoformat()}{text[day.end() :]}"


def _near(number: Any) -> Iterator[Any]:
    """One less and one more in the last decimal place that was written."""
    if isinstance(number, int):
        yield from (number - 1, number + 1)
        return
    exact = Decimal(repr(number))
    step = Decimal(1).scaleb(int(exact.as_tuple().exponent))
    yield from (float(exact - step), float(exact + step))


def _others(value: Any) -> Iterator[Any]:
    """Other values of the same kind; a boolean's is its negation, which is made already."""
    if isinstance(value, str):
        yield f"{value}~"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _near(value)
    elif isinstance(value, list):
        yield [*value, "~"]


def _renumbered(text: str) -> Iterator[str]:
    """The last number of a version or a duration, one less and one more."""
    found = _LAST_NUMBER.search(text)
    if found is None:
        return
    for number in (int(found[0]) - 1, int(found[0]) + 1):
        if number >= 0:
            yield f"{text[: found.start()]}{number}{text[found.end() :]}"
