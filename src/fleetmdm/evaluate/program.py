"""A policy compiled for evaluation: a flat list of leaves and the tree over their places.

Compiling prepares every operand once, settles `on_missing`, and notes on which side of a negation
each leaf stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleetmdm.evaluate.fact_path import FactPath, parse_path
from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.operators.row import Comparison, Operator
from fleetmdm.evaluate.outcome import Outcome, missing_outcome
from fleetmdm.governance.assign import Selection, Selections
from fleetmdm.policy import Combine, CompliancePolicy, Leaf, Node, OnMissing

NEGATING = frozenset({Combine.NOT, Combine.NONE})


@dataclass(frozen=True, slots=True)
class CompiledLeaf:
    """One comparison, ready. `missing` is its outcome where the fact is missing."""

    leaf: Leaf
    path: FactPath
    row: Operator
    comparison: Comparison
    missing: Outcome
    negated: bool = False
    """It stands below an odd number of `not` and `none`: there, what is good is that it is false."""

    @property
    def question(self) -> tuple[str, str, str, str | None, Outcome]:
        """Leaves with the same question have the same answers."""
        leaf = self.leaf
        return leaf.key, leaf.op, repr(leaf.value), leaf.scheme, self.missing


@dataclass(frozen=True, slots=True)
class Branch:
    """A group over compiled members."""

    combine: Combine
    members: tuple[Compiled, ...]


Compiled = CompiledLeaf | Branch


@dataclass(frozen=True, slots=True)
class Selected:
    """Where assignments let a policy apply."""

    devices: frozenset[str]
    tags: frozenset[str]
    conditions: tuple[Compiled, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled policy; `scope` is what its targets demand beyond os and tags."""

    policy: CompliancePolicy
    os: frozenset[str]
    tags: frozenset[str]
    scope: Branch | None
    check: Compiled
    selected: Selected | None = None
    """None where nothing is assigned, so that it applies to all that it targets."""


def compile_policy(policy: CompliancePolicy, selections: Selections | None = None) -> Program:
    """Prepare one policy; its operands were checked when it was read."""
    targets = policy.targets
    conditions = [node for node in (targets.os_version, targets.where) if node is not None]
    scope = Branch(
        Combine.ALL, tuple(_compile(node, OnMissing.UNKNOWN, negated=False) for node in conditions)
    )
    return Program(
        policy=policy,
        os=frozenset(map(fold, targets.os)),
        tags=frozenset(map(fold, targets.tags)),
        scope=scope if conditions else None,
        check=_compile(policy.check, policy.on_missing, negated=False),
        selected=None if selections is None else _compile_selection(policy, selections),
    )


def _compile_selection(policy: CompliancePolicy, selections: Selections) -> Selected:
    chosen = selections.get(policy.id, Selection())
    return Selected(
        devices=chosen.devices,
        tags=frozenset(map(fold, chosen.tags)),
        conditions=tuple(
            _compile(node, OnMissing.UNKNOWN, negated=False) for node in chosen.conditions
        ),
    )


def fold(text: str) -> str:
    """How names of systems and tags are compared: neither case nor outer spaces count."""
    return text.strip().casefold()


def _compile(node: Node, wish: OnMissing, *, negated: bool) -> Compiled:
    if isinstance(node, Leaf):
        return _compile_leaf(node, wish, negated=negated)
    if node.combine is Combine.WHEN:
        condition = _compile(node.members[0], OnMissing.UNKNOWN, negated=False)
        check = _compile(node.members[1], wish, negated=negated)
        return Branch(node.combine, (condition, check))
    below = negated ^ (node.combine in NEGATING)
    members = tuple(_compile(member, wish, negated=below) for member in node.members)
    return Branch(node.combine, members)


def _compile_leaf(leaf: Leaf, wish: OnMissing, *, negated: bool) -> CompiledLeaf:
    row = OPERATORS[leaf.op]
    return CompiledLeaf(
        leaf=leaf,
        path=parse_path(leaf.key),
        row=row,
        comparison=row.prepare(leaf.value, leaf.scheme or ""),
        missing=missing_outcome(leaf.on_missing or wish, negated=negated),
        negated=negated,
    )


def leaves_of(node: Compiled) -> Iterator[CompiledLeaf]:
    """Every leaf below, in the order of the policy."""
    if isinstance(node, CompiledLeaf):
        yield node
        return
    for member in node.members:
        yield from leaves_of(member)


def program_leaves(program: Program) -> Iterator[CompiledLeaf]:
    """Every leaf of the policy, those of its assignments and targets first."""
    if program.selected is not None:
        for condition in program.selected.conditions:
            yield from leaves_of(condition)
    if program.scope is not None:
        yield from leaves_of(program.scope)
    yield from leaves_of(program.check)
