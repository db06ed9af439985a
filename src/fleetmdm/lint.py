"""What a reader would say of policies that are well formed: findings with stable codes.

Pure: files were read and parsed before. Rule for editors: a code is a promise; add rows to
`LINT_CODES`, keep them sorted, and never report what may well be right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from fleetmdm.evaluate import evaluate
from fleetmdm.evaluate.examples import EXAMPLE_MOMENT, example_device
from fleetmdm.evaluate.fact_path import DOCUMENT_FIELDS, Step, parse_path, render_path
from fleetmdm.fields import FIELDS, NAMESPACES, find_field
from fleetmdm.policy import (
    Combine,
    CompliancePolicy,
    Group,
    Leaf,
    Node,
    PolicyTest,
    Position,
)
from fleetmdm.policy_yaml import PolicyFile, Problem
from fleetmdm.policy_yaml.problems import PROBLEM_CODES, suggest
from fleetmdm.results import Status

LINT_CODES: Final[Mapping[str, str]] = {
    **PROBLEM_CODES,
    "contradictory_checks": "two checks of one `all` that no value can satisfy together",
    "no_failing_test": "no test expects fail",
    "no_passing_test": "no test expects pass",
    "no_tests": "the policy has no tests",
    "repeated_check": "the same check twice in one composition",
    "undated_test": "a test without as_of whose result depends on the moment",
    "unknown_fact": "no exporter produces this fact",
    "unused_parameter": "a parameter that no value or message uses",
}
"""Every code that `policy lint` can give."""

_LONG_AGO: Final = datetime(1971, 1, 1, tzinfo=UTC)
_FAR_OFF: Final = datetime(2100, 1, 1, tzinfo=UTC)
_LOWER: Final = {"gt": 1, "gte": 0}
_UPPER: Final = {"lt": 1, "lte": 0}


def lint_files(
    files: Sequence[PolicyFile], *, ignore: Collection[str] = frozenset()
) -> list[Problem]:
    """Every finding over some files but those with the codes to ignore, by file and place."""
    found = [problem for file in files for problem in file.problems]
    found += _duplicates(files)
    for file in files:
        for policy in file.policies:
            found += (Problem(file.name, *finding) for finding in _lint_policy(policy))
        for policy, name in file.unused_parameters:
            where = policy.position
            message = f"parameter {name!r} of {policy.id} is not used"
            found.append(Problem(file.name, where.line, where.column, "unused_parameter", message))
    return sorted({problem for problem in found if problem.code not in ignore})


_Finding = tuple[int, int, str, str]


def _finding(where: Position, code: str, message: str) -> _Finding:
    return where.line, where.column, code, message


def _duplicates(files: Sequence[PolicyFile]) -> Iterator[Problem]:
    """The same id in two files; twice in one file is a problem of the file itself."""
    first: dict[str, str] = {}
    for file in files:
        for policy in file.policies:
            earlier = first.setdefault(policy.id, file.name)
            if earlier != file.name:
                line, column = policy.position.line, policy.position.column
                message = f"policy {policy.id!r} stands in {earlier} too"
                yield Problem(file.name, line, column, "duplicate_id", message)


def _lint_policy(policy: CompliancePolicy) -> Iterator[_Finding]:
    yield from _lint_tests(policy)
    roots = [policy.check, policy.targets.where, policy.targets.os_version]
    for root in roots:
        if root is None:
            continue
        yield from _lint_groups(root)
        yield from _lint_facts(root)


def _lint_tests(policy: CompliancePolicy) -> Iterator[_Finding]:
    if not policy.tests:
        yield _finding(policy.position, "no_tests", f"policy {policy.id} has no tests")
        return
    expected = {test.expect for test in policy.tests}
    if Status.PASS not in expected and policy.enabled:
        yield _finding(policy.position, "no_passing_test", f"no test of {policy.id} expects pass")
    if Status.FAIL not in expected and policy.enabled:
        yield _finding(policy.position, "no_failing_test", f"no test of {policy.id} expects fail")
    for test in policy.tests:
        if test.as_of is None and _depends_on_time(policy, test):
            message = f"test {test.name!r} has no as_of, and its result depends on it"
            yield _finding(test.position, "undated_test", message)


def _depends_on_time(policy: CompliancePolicy, test: PolicyTest) -> bool:
    """The same device gets another state at some other moment."""
    device = example_device(policy, test)
    states = {
        evaluate([device], [policy], moment)[0].status
        for moment in (_LONG_AGO, EXAMPLE_MOMENT, _FAR_OFF)
    }
    return len(states) > 1


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
        return
    for member in node.members:
        yield from _leaves(member)


# Facts that nobody produces.


def _lint_facts(root: Node) -> Iterator[_Finding]:
    for leaf in _leaves(root):
        steps = parse_path(leaf.key).steps
        if steps[0] == "facts":
            steps = steps[1:]
        elif steps[0] in DOCUMENT_FIELDS:
            continue
        if steps and not _is_known(steps):
            path = render_path(steps)
            near = suggest(path, frozenset(field.path for field in FIELDS))
            message = f"no exporter writes the fact {path!r}{near}"
            yield _finding(leaf.position, "unknown_fact", message)


def _is_known(steps: tuple[Step, ...]) -> bool:
    """A fact of the catalogue, an object that holds some, an element there, or another tool's."""
    path = render_path(steps)
    if steps[0] in NAMESPACES:
        return True
    if find_field(path) is not None:
        return True
    if not isinstance(steps[-1], str) and find_field(render_path(steps[:-1])) is not None:
        return True
    return any(field.path.startswith((f"{path}.", f"{path}[")) for field in FIELDS)


# Checks that cannot go together.


def _lint_groups(root: Node) -> Iterator[_Finding]:
    if isinstance(root, Leaf):
        return
    leaves = [member for member in root.members if isinstance(member, Leaf)]
    if root.combine is not Combine.WHEN:
        yield from _repeated(leaves)
    if root.combine is Combine.ALL:
        yield from _contradictory(leaves)
    for member in root.members:
        if isinstance(member, Group):
            yield from _lint_groups(member)


def _repeated(leaves: Iterable[Leaf]) -> Iterator[_Finding]:
    seen: dict[tuple[str, str, str], Leaf] = {}
    for leaf in leaves:
        look = (leaf.key, leaf.op, repr(leaf.value))
        if look in seen:
            line = seen[look].position.line
            message = f"the check of {leaf.key} stands at line {line} already"
            yield _finding(leaf.position, "repeated_check", message)
        seen.setdefault(look, leaf)


def _contradictory(leaves: Sequence[Leaf]) -> Iterator[_Finding]:
    by_key: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        by_key.setdefault(leaf.key, []).append(leaf)
    for key, members in by_key.items():
        reason = _bounds(members) or _equalities(members)
        if reason:
            yield _finding(members[-1].position, "contradictory_checks", f"{key}: {reason}")


def _bounds(leaves: Sequence[Leaf]) -> str:
    lower = [(leaf.value, _LOWER[leaf.op]) for leaf in leaves if leaf.op in _LOWER]
    upper = [(leaf.value, _UPPER[leaf.op]) for leaf in leaves if leaf.op in _UPPER]
    for leaf in leaves:
        if leaf.op == "between":
            lower.append((leaf.value[0], 0))
            upper.append((leaf.value[1], 0))
    for low, low_open in lower:
        for high, high_open in upper:
            if low > high or (low == high and (low_open or high_open)):
                return f"nothing is above {low} and below {high}"
    return ""


def _equalities(leaves: Sequence[Leaf]) -> str:
    wanted = [leaf.value for leaf in leaves if leaf.op == "eq"]
    refused = [leaf.value for leaf in leaves if leaf.op == "ne"]
    for place, value in enumerate(wanted):
        if any(repr(other) != repr(value) for other in wanted[place + 1 :]):
            return "it cannot equal two values"
        if any(repr(other) == repr(value) for other in refused):
            return "it cannot both equal a value and not equal it"
    return ""
