"""What a policy can come to at all, whatever the facts: its possible outcomes, by rough reasoning.

Each check is taken to be free of the others, but for what `contradictions` knows of one fact. So
what is said to be impossible is so, and what is said to be possible may not be. Pure.
Rule for editors: rather miss a fault than report what may well be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import product
from typing import Final

from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.outcome import OPPOSITE, Outcome, missing_outcome
from fleetmdm.evaluate.program import NEGATING, fold
from fleetmdm.lint.contradictions import contradiction
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Node, OnMissing

Possible = frozenset[Outcome]

_MATCHES_ALL: Final = frozenset({"", ".*", "^", "$", "(?s).*", "(?s)^.*$"})
"""Patterns that are found in every text."""


def outcomes_of(policy: CompliancePolicy, *, present: bool = False) -> Possible:
    """What the policy's checks can come to; `present`: where every fact is there."""
    return _node(policy.check, policy.on_missing, present=present, negated=False)


def _node(node: Node, wish: OnMissing, *, present: bool, negated: bool) -> Possible:
    if isinstance(node, Leaf):
        return _leaf(node, wish, present=present, negated=negated)
    if node.combine is Combine.WHEN:
        condition = _node(node.members[0], OnMissing.UNKNOWN, present=present, negated=False)
        check = _node(node.members[1], wish, present=present, negated=negated)
        return _when(condition, check)
    below = negated ^ (node.combine in NEGATING)
    members = [_node(each, wish, present=present, negated=below) for each in node.members]
    found = _combined(node.combine, members)
    return found - _impossible(node)


def _leaf(leaf: Leaf, wish: OnMissing, *, present: bool, negated: bool) -> Possible:
    presence = OPERATORS[leaf.op].presence
    if presence is not None:
        if present:
            return frozenset({Outcome.TRUE if presence else Outcome.FALSE})
        return frozenset({Outcome.TRUE, Outcome.FALSE})
    found = {Outcome.ERROR, *_decided(leaf)}
    if not present:
        found.add(missing_outcome(leaf.on_missing or wish, negated=negated))
    return frozenset(found)


def _decided(leaf: Leaf) -> set[Outcome]:
    """What a fact of the right kind can come to."""
    always = (leaf.op == "regex" and leaf.value in _MATCHES_ALL) or (
        leaf.op == "length_gte" and leaf.value == 0
    )
    never = (leaf.op == "not_regex" and leaf.value in _MATCHES_ALL) or (
        leaf.op == "length_lt" and leaf.value == 0
    )
    if always:
        return {Outcome.TRUE}
    if never or (leaf.op == "between" and contradiction([leaf])):
        return {Outcome.FALSE}
    return {Outcome.TRUE, Outcome.FALSE}


def _combined(how: Combine, members: Sequence[Possible]) -> Possible:
    if how is Combine.NOT:
        return _turned(members[0])
    if how is Combine.ALL:
        return _least(members)
    nothing = _least([_turned(member) for member in members])
    return nothing if how is Combine.NONE else _turned(nothing)


def _least(members: Iterable[Possible]) -> Possible:
    """Of every choice of one outcome from each member, the least."""
    return reduce(lambda one, other: frozenset(map(min, product(one, other))), members)


def _turned(outcomes: Possible) -> Possible:
    return frozenset(Outcome(int(OPPOSITE[one])) for one in outcomes)


def _when(condition: Possible, check: Possible) -> Possible:
    held = check if Outcome.TRUE in condition else frozenset[Outcome]()
    unsure = condition & {Outcome.UNKNOWN, Outcome.ERROR}
    off = bool(condition & {Outcome.FALSE, Outcome.NOT_APPLICABLE})
    return held | unsure | (frozenset({Outcome.NOT_APPLICABLE}) if off else frozenset())


def _impossible(group: Group) -> Possible:
    """What members that speak of one fact rule out together."""
    leaves = [member for member in group.members if isinstance(member, Leaf)]
    if group.combine is Combine.ALL and any(map(contradiction, _by_key(leaves))):
        return frozenset({Outcome.TRUE})
    if group.combine is Combine.ANY and _covers_all(leaves):
        return frozenset({Outcome.FALSE})
    return frozenset()


def _by_key(leaves: Iterable[Leaf]) -> list[list[Leaf]]:
    grouped: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        grouped.setdefault(leaf.key, []).append(leaf)
    return list(grouped.values())


def _covers_all(leaves: Iterable[Leaf]) -> bool:
    """A check and its opposite: one of them holds wherever they can be decided."""
    seen = {(leaf.key, leaf.op, repr(leaf.value)) for leaf in leaves if "[*]" not in leaf.key}
    return any((key, OPERATORS[op].opposite, value) in seen for key, op, value in seen)


# Checks that can never hold, or are never asked, where they stand.


def unreachable(policy: CompliancePolicy) -> Iterator[tuple[Node, str]]:
    """Each such check, and why."""
    yield from _walk(policy.check, (), policy)


def _walk(
    node: Node, given: tuple[Leaf, ...], policy: CompliancePolicy
) -> Iterator[tuple[Node, str]]:
    """`given` are checks that hold wherever this node matters."""
    if isinstance(node, Leaf):
        return
    if node.combine in NEGATING:
        return
    if node.combine is Combine.WHEN:
        condition, check = node.members
        reason = _never(condition, given, policy)
        if reason:
            yield check, f"its condition never holds: {reason}"
            return
        yield from _walk(check, (*given, *_holding(condition)), policy)
        return
    members = node.members
    if node.combine is Combine.ANY:
        for member in members:
            reason = _never(member, given, policy)
            if reason:
                yield member, f"it never holds here: {reason}"
    for place, member in enumerate(members):
        beside = () if node.combine is Combine.ANY else (*members[:place], *members[place + 1 :])
        known = (*given, *(one for other in beside for one in _holding(other)))
        yield from _walk(member, known, policy)


def _holding(node: Node) -> tuple[Leaf, ...]:
    """Checks that hold wherever a node does."""
    if isinstance(node, Leaf):
        return (node,)
    if node.combine is Combine.ALL:
        return tuple(leaf for member in node.members for leaf in _holding(member))
    return ()


def _never(node: Node, given: Sequence[Leaf], policy: CompliancePolicy) -> str:
    """Why a node cannot hold, beside what is given and what the policy targets."""
    own = _holding(node)
    for group in _by_key((*given, *own)):
        if any(leaf in own for leaf in group) and (reason := contradiction(group)):
            return f"{group[0].key}: {reason}"
    for leaf in own:
        if leaf.key == "os" and policy.targets.os and leaf.op in {"eq", "in"}:
            wanted = leaf.value if isinstance(leaf.value, list) else [leaf.value]
            targeted = set(map(fold, policy.targets.os))
            if not targeted & {fold(one) for one in wanted if isinstance(one, str)}:
                return f"the policy targets {', '.join(policy.targets.os)} alone"
    return ""
