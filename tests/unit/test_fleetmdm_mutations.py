"""Mutants of checks: which are made, and that the tests of the policies that ship notice them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from fleetmdm.evaluate import OPERATORS
from fleetmdm.evaluate.examples import run_tests
from fleetmdm.evaluate.mutations import MUTATION_CODES, Mutant, is_noticed, mutants
from fleetmdm.evaluate.semantics import CELLS, Cell
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Node, Position
from fleetmdm.policy_yaml import parse_policies, parse_policy

HERE = Position(1, 1)
LIBRARY = [
    policy
    for entry in files("fleetmdm.policies").iterdir()
    if entry.name.endswith(".yaml")
    for policy in parse_policies(entry.read_bytes(), name=entry.name)
]


def leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
        return
    for member in node.members:
        yield from leaves(member)


def policy_of(op: str, value: Any, scheme: str | None = None) -> CompliancePolicy:
    leaf = Leaf("checks[0]", "k", op, value, HERE, scheme=scheme)
    return CompliancePolicy("p", "P", Group("checks", Combine.ALL, (leaf,), HERE), b"", "")


def shifted(op: str, value: Any, scheme: str | None = None) -> list[Any]:
    found = mutants(policy_of(op, value, scheme))
    kept = [each for each in found if each.code == "shift_unnoticed"]
    return [leaf.value for each in kept for leaf in leaves(each.policy.check)]


@pytest.mark.parametrize("policy", LIBRARY, ids=lambda policy: policy.id)
def test_the_tests_of_every_policy_that_ships_notice_every_mutation(
    policy: CompliancePolicy,
) -> None:
    made = list(mutants(policy))
    missed = [(each.leaf.path, each.change) for each in made if not is_noticed(each)]
    assert made
    assert missed == []


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.op} {cell.fact!r}")
def test_every_mutant_is_another_policy_that_can_be_decided(cell: Cell) -> None:
    policy = policy_of(cell.op, cell.operand, cell.scheme)
    made = list(mutants(policy))
    assert [each.code for each in made].count("negation_unnoticed") == 1
    for each in made:
        assert each.code in MUTATION_CODES
        assert each.policy.check != policy.check
        assert run_tests(each.policy) == ()
        for leaf in leaves(each.policy.check):
            OPERATORS[leaf.op].prepare(leaf.value, leaf.scheme or "")


@pytest.mark.parametrize(
    ("op", "value", "scheme", "others"),
    [
        ("lte", 4, None, [3, 5]),
        ("gt", 0.25, None, [0.24, 0.26]),
        ("length_gte", 0, None, [1]),
        ("between", [1, 4], None, [[0, 4], [2, 4], [1, 3], [1, 5]]),
        ("between", [3, 3], None, [[2, 3], [3, 4]]),
        ("eq", 7, None, [6, 8]),
        ("eq", True, None, []),
        ("ne", "no", None, ["no~"]),
        ("eq", ["a"], None, [["a", "~"]]),
        ("contains", "ab", None, ["a~"]),
        ("starts_with", "~", None, ["-"]),
        ("version_gte", "1:9.2p1-2+deb12u3", "dpkg", ["1:9.2p1-2+deb12u2", "1:9.2p1-2+deb12u4"]),
        ("version_lt", "1.0.0", "semver", ["1.0.1"]),
        ("within", "14d", None, ["13d", "15d"]),
        ("after", "now+1d", None, ["now+0d", "now+2d"]),
        ("before", "now", None, []),
        ("before", "2026-01-01", None, ["2025-12-31", "2026-01-02"]),
        ("after", "2026-01-01T08:00:00Z", None, ["2025-12-31T08:00:00Z", "2026-01-02T08:00:00Z"]),
        ("in", ["a"], None, [["a~"]]),
        ("in", [1, "a"], None, [["a"], [1], [0, "a"]]),
        ("in", [True], None, []),
        ("subset_of", ["a", "b"], None, [["b"], ["a"], ["a~", "b"]]),
        ("regex", "a", None, ["a~"]),
        ("cidr", "10.0.0.0/8", None, ["10.0.0.0/9", "10.0.0.0/7"]),
        ("cidr", "10.0.0.1", None, ["10.0.0.0/31"]),
        ("cidr", ["10.0.0.0/8", "fd00::/8"], None, [["fd00::/8"], ["10.0.0.0/8"]]),
        ("exists", None, None, []),
    ],
)
def test_operands_are_shifted_to_their_neighbours(
    op: str, value: Any, scheme: str | None, others: list[Any]
) -> None:
    assert shifted(op, value, scheme) == others


WHOLE = b"""id: p
name: P
targets:
  os_version: {op: version_eq, value: "12", scheme: dpkg}
  where: {not: {key: w, op: exists}}
checks:
  - key: a
    op: regex
    value: x
    when: {key: c, op: eq, value: true}
  - any: [{key: b, op: in, value: [1]}, {none: [{key: d, op: cidr, value: "10.0.0.0/8"}]}]
tests:
  - name: holds
    device: {os_version: "12", facts: {a: x, b: 1, c: true, d: "10.0.0.1"}}
    expect: pass
"""


def by_leaf() -> dict[str, Mutant]:
    made = mutants(parse_policy(WHOLE, name="p"))
    return {each.leaf.path: each for each in made if each.code == "negation_unnoticed"}


def test_each_leaf_is_negated_in_its_own_place() -> None:
    noticed = {path: is_noticed(mutant) for path, mutant in by_leaf().items()}
    assert noticed == {
        "targets.os_version": True,
        "targets.where.not": True,
        "checks[0].when": False,
        "checks[0]": True,
        "checks[1].any[0]": True,
        "checks[1].any[1].none[0]": False,
    }


def test_a_mutant_changes_one_leaf_and_nothing_else() -> None:
    before = parse_policy(WHOLE, name="p")
    for path, mutant in by_leaf().items():
        kept = set(map(id, leaves(mutant.policy.check)))
        gone = [leaf.path for leaf in leaves(before.check) if leaf.path != path]
        assert len(kept) == len(list(leaves(before.check)))
        assert gone == [leaf.path for leaf in leaves(mutant.policy.check) if leaf.path != path]
