"""Policies from YAML: what is read, and every way in which a file is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from fleetmdm.errors import FleetError
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, OnMissing
from fleetmdm.policy_yaml import parse_policies, parse_policy, read_policies
from fleetmdm.policy_yaml.problems import PROBLEM_CODES
from fleetmdm.results import Severity, Status

HEAD = "id: a\nname: A\n"
CHECKS = "checks: [{key: k, op: eq, value: 1}]\n"


def one(text: str) -> CompliancePolicy:
    (policy,) = parse_policies(text.encode(), name="p.yaml")
    return policy


def found(text: str | bytes) -> list[tuple[int, int, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    problems = read_policies(data, name="p.yaml").problems
    assert {each.code for each in problems} <= set(PROBLEM_CODES)
    return [(each.line, each.column, each.code) for each in problems]


def only_leaf(policy: CompliancePolicy) -> Leaf:
    (leaf,) = policy.check.members
    assert isinstance(leaf, Leaf)
    return leaf


def test_the_smallest_policy_has_the_documented_defaults() -> None:
    policy = one(HEAD + CHECKS)
    assert (policy.id, policy.name, policy.severity) == ("a", "A", Severity.MEDIUM)
    assert (policy.enabled, policy.on_missing, policy.tests) == (True, OnMissing.UNKNOWN, ())
    leaf = only_leaf(policy)
    assert (leaf.path, leaf.key, leaf.op, leaf.value) == ("checks[0]", "k", "eq", 1)
    assert (leaf.position.line, leaf.position.column) == (3, 10)


def test_every_member_of_a_policy_is_read() -> None:
    policy = one(
        HEAD + "description: D\nseverity: critical\nrationale: R\nremediation: F\nenabled: false\n"
        "on_missing: fail\ntags: [x, z]\nreferences:\n  - {framework: CIS, control: '1.1', url: u}\n"
        "targets:\n  os: linux\n  tags: [web]\n"
        "  os_version: {op: version_gte, value: '11', scheme: dpkg}\n"
        "  where: {key: w, op: exists}\nparameters: {n: 4}\n"
        "checks: [{key: k, op: lte, value: '${n}', message: 'at most ${n}', on_missing: pass}]\n"
        "tests:\n  - name: t\n    as_of: '2026-02-01T00:00:00Z'\n    expect: error\n"
        "    device: {os: linux, tags: [web], facts: {k: [1, {a: null}]}}\n"
    )
    assert (policy.description, policy.rationale, policy.remediation) == ("D", "R", "F")
    assert (policy.severity, policy.enabled) == (Severity.CRITICAL, False)
    assert (policy.on_missing, policy.tags) == (OnMissing.FAIL, ("x", "z"))
    assert [(r.framework, r.control, r.url) for r in policy.references] == [("CIS", "1.1", "u")]
    assert (policy.targets.os, policy.targets.tags) == (("linux",), ("web",))
    assert policy.targets.os_version is not None
    assert (policy.targets.os_version.key, policy.targets.os_version.scheme) == (
        "os_version",
        "dpkg",
    )
    assert isinstance(policy.targets.where, Leaf)
    leaf = only_leaf(policy)
    assert (leaf.value, leaf.message, leaf.on_missing) == (4, "at most 4", OnMissing.PASS)
    (test,) = policy.tests
    assert (test.expect, test.as_of) == (Status.ERROR, datetime(2026, 2, 1, tzinfo=UTC))
    assert test.device["facts"] == {"k": [1, {"a": None}]}


def test_compositions_become_groups_with_their_places() -> None:
    policy = one(
        HEAD + "checks:\n  - any:\n      - {key: a, op: exists}\n"
        "      - not: {none: [{key: b, op: exists}]}\n"
        "    when: {key: c, op: exists}\n"
    )
    (guard,) = policy.check.members
    assert isinstance(guard, Group)
    condition, group = guard.members
    assert isinstance(condition, Leaf)
    assert isinstance(group, Group)
    assert (guard.combine, group.combine) == (Combine.WHEN, Combine.ANY)
    assert condition.path == "checks[0].when"
    inverse = group.members[1]
    assert isinstance(inverse, Group)
    assert inverse.combine is Combine.NOT
    assert inverse.path == "checks[0].any[1]"
    (none,) = inverse.members
    assert isinstance(none, Group)
    assert none.members[0].path == "checks[0].any[1].not.none[0]"


def test_one_file_holds_many_policies_and_each_keeps_its_own_source() -> None:
    text = f"# head\n---\n{HEAD}{CHECKS}# tail\n---\nid: b\nname: É\n{CHECKS}---\n"
    policies = parse_policies(text.encode(), name="p.yaml")
    assert [policy.id for policy in policies] == ["a", "b"]
    assert policies[0].source == f"---\n{HEAD}{CHECKS}# tail\n".encode()
    for policy in policies:
        again = parse_policy(policy.source, name="stored")
        assert (again.id, again.sha256) == (policy.id, policy.sha256)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5e3", 1500.0),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("12:30", "12:30"),
        ("'no'", "no"),
        ('"on"', "on"),
        ("None", "None"),
        ("[1, 'a']", [1, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    leaf = only_leaf(one(f"{HEAD}checks: [{{key: k, op: eq, value: {written}}}]\n"))
    assert leaf.value == value
    assert type(leaf.value) is type(value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{HEAD}{CHECKS}colour: red\n", (4, 1, "unknown_key")),
        (f"{HEAD}{CHECKS}id: b\n", (4, 1, "duplicate_key")),
        (f"{HEAD}checks: [{{key: k, op: equals, value: 1}}]\n", (3, 23, "unknown_operator")),
        (f"{HEAD}checks: [{{key: k, op: eq, value: no}}]\n", (3, 34, "ambiguous_scalar")),
        (f"{HEAD}checks: [{{key: k, op: eq, value: Off}}]\n", (3, 34, "ambiguous_scalar")),
        (f"{HEAD}checks: [{{key: k, op: eq, value: 0123}}]\n", (3, 34, "ambiguous_scalar")),
        (f"{HEAD}checks: [{{key: k, op: eq, value: .nan}}]\n", (3, 34, "ambiguous_scalar")),
        (
            f"{HEAD}checks: [{{key: k, op: eq, value: 9007199254740993}}]\n",
            (3, 34, "ambiguous_scalar"),
        ),
        (f"{HEAD}checks: [{{key: k, op: eq, value: null}}]\n", (3, 34, "invalid_operand")),
        (f"{HEAD}checks: [{{key: k, op: eq}}]\n", (3, 10, "missing_key")),
        (f"{HEAD}checks: [{{key: k, op: exists, value: 1}}]\n", (3, 38, "invalid_operand")),
        (f"{HEAD}checks: [{{key: k, op: regex, value: '('}}]\n", (3, 37, "invalid_regex")),
        (f"{HEAD}checks: [{{key: k, op: lt, value: '1'}}]\n", (3, 34, "invalid_operand")),
        (f"{HEAD}checks: [{{key: a..b, op: exists}}]\n", (3, 16, "invalid_key")),
        (f"{HEAD}checks: [{{key: k, op: eq, value: 1, scheme: rpm}}]\n", (3, 45, "unknown_key")),
        (
            f"{HEAD}checks: [{{key: k, op: version_eq, value: '1', scheme: x}}]\n",
            (3, 55, "invalid_value"),
        ),
        (f"{HEAD}checks: [{{key: k, op: eq, value: '${{x}}'}}]\n", (3, 34, "unknown_parameter")),
        (f"{HEAD}checks: []\n", (3, 9, "invalid_value")),
        (f"{HEAD}checks: {{}}\n", (3, 9, "wrong_type")),
        (f"{HEAD}checks: [1]\n", (3, 10, "wrong_type")),
        (f"{HEAD}checks: [{{any: []}}]\n", (3, 16, "invalid_value")),
        (f"{HEAD}checks: [{{any: [], all: []}}]\n", (3, 10, "unknown_key")),
        (f"{HEAD}checks: [{{any: [], key: k}}]\n", (3, 20, "unknown_key")),
        (f"{HEAD}{CHECKS}severity: urgent\n", (4, 11, "invalid_value")),
        (f"{HEAD}{CHECKS}enabled: 1\n", (4, 10, "wrong_type")),
        (f"{HEAD}{CHECKS}tags: {{a: b}}\n", (4, 7, "wrong_type")),
        (f"{HEAD}{CHECKS}parameters: {{'a b': 1}}\n", (4, 14, "invalid_value")),
        (f"{HEAD}{CHECKS}parameters: {{p: null}}\n", (4, 17, "wrong_type")),
        (f"{HEAD}{CHECKS}targets: {{tag: prod}}\n", (4, 11, "unknown_key")),
        (f"{HEAD}{CHECKS}references: [{{framework: CIS}}]\n", (4, 14, "missing_key")),
        (f"{HEAD}{CHECKS}tests: [{{name: t, device: {{}}}}]\n", (4, 9, "missing_key")),
        (
            f"{HEAD}{CHECKS}tests: [{{name: t, device: {{}}, expect: fixed}}]\n",
            (4, 39, "invalid_value"),
        ),
        (
            f"{HEAD}{CHECKS}tests: [{{name: t, device: {{}}, expect: pass, as_of: today}}]\n",
            (4, 52, "invalid_value"),
        ),
        (f"id: 7\nname: A\n{CHECKS}", (1, 5, "wrong_type")),
        (f"id: a b\nname: A\n{CHECKS}", (1, 5, "invalid_value")),
        (f"id: a\nname: ''\n{CHECKS}", (2, 7, "invalid_value")),
        (f"name: A\n{CHECKS}", (1, 1, "missing_key")),
        (f"id: a\nname: &x A\n{CHECKS}", (2, 7, "alias")),
        (f"id: a\nname: !!str A\n{CHECKS}", (2, 7, "tag")),
        (f"%YAML 1.1\n---\n{HEAD}{CHECKS}", (2, 1, "tag")),
        (f"{HEAD}{CHECKS}1: 2\n", (4, 1, "wrong_type")),
        ("- a\n", (1, 1, "wrong_type")),
        ("id: [1, 2\n", (2, 1, "yaml_syntax")),
        ("a: b: c\n", (1, 5, "yaml_syntax")),
        ("a: \x07\n", (1, 4, "yaml_syntax")),
        (r'a: "\ud83d"', (1, 4, "yaml_syntax")),
        ('a: 1\nb: "x \\ude00\\ud83d"', (2, 4, "yaml_syntax")),
        ('"\\ud800": 1', (1, 1, "yaml_syntax")),
        ('a: 1\nb: ["\\U00110000"]', (2, 6, "yaml_syntax")),
        ('a: "\\Uffffffff"', (1, 5, "yaml_syntax")),
        ("", (1, 1, "missing_key")),
        ("# nothing\n", (1, 1, "missing_key")),
        (f"{HEAD}{CHECKS}---\n{HEAD}{CHECKS}", (5, 1, "duplicate_id")),
        (b"a: \xff\n", (1, 1, "yaml_syntax")),
        ("x" * (1 << 20) + "x", (1, 1, "too_large")),
        ("[" * 100_000, (1, 65, "too_deep")),
        ("- " * 10_000, (1, 129, "too_deep")),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_what_is_wrong_is_named_with_its_place(
    text: str | bytes, place: tuple[int, int, str]
) -> None:
    assert place in found(text)


def test_two_escapes_that_are_a_pair_are_one_character() -> None:
    """As in JSON, of which YAML 1.2 is a superset."""
    escaped = r'"\ud83d\ude00 \U0001f600 \u00fc"'
    policy = parse_policy(f"id: a\nname: {escaped}\n{CHECKS}".encode(), name="f")
    assert policy.name == "\U0001f600 \U0001f600 \xfc"


def test_every_problem_of_a_file_is_given_at_once() -> None:
    codes = [code for _, _, code in found("id: 1\nnmae: x\nchecks: [{key: k, op: ee}]\n")]
    assert codes == ["missing_key", "wrong_type", "unknown_key", "unknown_operator"]


def test_a_misspelt_word_is_answered_with_the_nearest() -> None:
    (problem,) = read_policies(f"{HEAD}{CHECKS}severty: low\n".encode(), name="f").problems
    assert "did you mean 'severity'?" in problem.message


def test_a_version_without_quotes_is_refused() -> None:
    text = f"{HEAD}checks: [{{key: k, op: version_gte, value: 22.10, scheme: dpkg}}]\n"
    (problem,) = read_policies(text.encode(), name="f").problems
    assert "quote the version" in problem.message


def test_the_failure_carries_every_problem() -> None:
    with pytest.raises(FleetError) as caught:
        parse_policies(b"id: 1\nname: [\n", name="dir/p.yaml")
    assert caught.value.code == "policy_invalid"
    first = caught.value.details["problems"][0]
    assert set(first) == {"file", "line", "column", "code", "message"}
    assert first["file"] == "dir/p.yaml"


@pytest.mark.parametrize(
    "data",
    [
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        b"[" * 1_000_000,
        b"{" * 1_000_000,
        b'- "' + b"x" * 1_000_000,
        b"a: " + b"x " * 500_000,
        b"a: |\n" + b" xxxx\n" * 150_000,
        b"? " * 100_000,
        b"#" * 1_000_000,
    ],
    ids=lambda data: data[:8].decode(),
)
def test_hostile_files_are_refused_in_bounded_time(data: bytes) -> None:
    started = time.process_time()
    assert found(data)
    assert time.process_time() - started < 20


def test_parameters_are_substituted_with_their_types() -> None:
    policy = one(
        HEAD + "parameters: {n: 4, l: ['no', x], b: true}\nchecks:\n"
        "  - {key: a, op: in, value: '${l}'}\n  - {key: b, op: in, value: ['${n}', 'x${n}']}\n"
        "  - {key: c, op: eq, value: {m: '${b}'}}\n  - {key: d, op: eq, value: '$${n}'}\n"
        "  - {key: e, op: eq, value: '${l}', message: 'one of ${l}, ${b}'}\n"
    )
    leaves = [leaf for leaf in policy.check.members if isinstance(leaf, Leaf)]
    assert [leaf.value for leaf in leaves[:4]] == [["no", "x"], [4, "x4"], {"m": True}, "${n}"]
    assert leaves[4].message == "one of no, x, true"


def test_parameters_that_are_not_used_are_told_apart() -> None:
    file = read_policies(f"{HEAD}{CHECKS}parameters: {{p: 1}}\n".encode(), name="f")
    assert [(policy.id, name) for policy, name in file.unused_parameters] == [("a", "p")]
