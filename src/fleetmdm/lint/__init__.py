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
from fleetmdm.evaluate.outcome import Outcome
from fleetmdm.fields import FIELDS, NAMESPACES, find_field
from fleetmdm.lint.contradictions import contradiction
from fleetmdm.lint.possible import outcomes_of, unreachable
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
    "never_fails": "no facts can make the policy fail",
    "no_failing_test": "no test expects fail",
    "no_passing_test": "no test expects pass",
    "no_tests": "the policy has no tests",
    "passes_only_on_absent_data": "the policy passes only where facts are missing",
    "repeated_check": "the same check twice in one composition",
    "severity_without_effect": "a severity on a condition, which no verdict names",
    "unmatched_tag": "a tag of targets that no device of the fleet has (with --fleet)",
    "unreachable_check": "a check that can never hold or never be asked where it stands",
    "undated_test": "a test without as_of whose result depends on the moment",
    "unknown_fact": "no exporter produces this fact",
    "unused_parameter": "a parameter that no value or message uses",
}
"""Every code that `policy lint` can give."""

_LONG_AGO: Final = datetime(1971, 1, 1, tzinfo=UTC)
_FAR_OFF: Final = datetime(2100, 1, 1, tzinfo=UTC)


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
    yield from _lint_severities(policy)
    # None are there where a person answers, or where they could not be read.
    if policy.check.members:
        yield from _lint_outcomes(policy)


def _lint_severities(policy: CompliancePolicy) -> Iterator[_Finding]:
    """Findings name the leaves of `checks` alone."""
    conditions = [policy.targets.where, *_conditions(policy.check)]
    for root in conditions:
        for leaf in () if root is None else _leaves(root):
            if leaf.severity is not None:
                message = "a condition has no severity; give it to the check itself"
                yield _finding(leaf.position, "severity_without_effect", message)


def _conditions(node: Node) -> Iterator[Node]:
    if isinstance(node, Leaf):
        return
    members = node.members
    if node.combine is Combine.WHEN:
        yield members[0]
        members = members[1:]
    for member in members:
        yield from _conditions(member)


def _lint_outcomes(policy: CompliancePolicy) -> Iterator[_Finding]:
    possible = outcomes_of(policy)
    if Outcome.FALSE not in possible:
        yield _finding(policy.position, "never_fails", f"nothing can make {policy.id} fail")
    present = outcomes_of(policy, present=True)
    if Outcome.TRUE in possible and Outcome.TRUE not in present:
        message = f"{policy.id} passes only where facts are missing"
        yield _finding(policy.position, "passes_only_on_absent_data", message)
    for node, why in unreachable(policy):
        yield _finding(node.position, "unreachable_check", why)


def lint_tags(file: PolicyFile, tags_in_use: Collection[str]) -> Iterator[Problem]:
    """Tags of targets that no device has; tags are compared as targets do."""
    used = {tag.strip().casefold() for tag in tags_in_use}
    for policy in file.policies:
        for tag in policy.targets.tags:
            if tag.strip().casefold() not in used:
                where, message = policy.position, f"no device has the tag {tag!r} of {policy.id}"
                yield Problem(file.name, where.line, where.column, "unmatched_tag", message)


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
        reason = contradiction(members)
        if reason:
            yield _finding(members[-1].position, "contradictory_checks", f"{key}: {reason}")
