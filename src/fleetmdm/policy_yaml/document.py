"""One policy document from YAML: every key but the checks, which `checks` reads."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fleetmdm.evaluate.operators.times import parse_duration
from fleetmdm.policy import (
    CompliancePolicy,
    OnMissing,
    PolicyTest,
    Question,
    Reference,
    Targets,
)
from fleetmdm.policy_yaml.checks import CheckReader
from fleetmdm.policy_yaml.parameters import Substitution, read_parameters
from fleetmdm.policy_yaml.strict import Strict
from fleetmdm.policy_yaml.yaml_tree import Node
from fleetmdm.results import Severity, Status
from fleetmdm.rfc3339 import parse_time

MAX_ID_CHARACTERS: Final = 128

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
POLICY_KEYS: Final = frozenset(
    {
        "id",
        "name",
        "description",
        "severity",
        "rationale",
        "remediation",
        "references",
        "tags",
        "enabled",
        "on_missing",
        "targets",
        "parameters",
        "checks",
        "attestation",
        "grace",
        "tests",
    }
)
TARGET_KEYS: Final = frozenset({"os", "tags", "os_version", "where"})
POLICY_REQUIRED: Final = ("id", "name")
POLICY_ONE_OF: Final = ("checks", "attestation")
"""Every policy has exactly one of these."""
ATTESTATION_KEYS: Final = frozenset({"question", "period"})
ATTESTATION_REQUIRED: Final = ("question", "period")
REFERENCE_REQUIRED: Final = ("framework", "control")
TEST_REQUIRED: Final = ("name", "device", "expect")
REFERENCE_KEYS: Final = frozenset({"framework", "control", "url"})
TEST_KEYS: Final = frozenset({"name", "device", "as_of", "expect"})
DEVICE_KINDS: Final = {
    "device_id": "text",
    "hostname": "text",
    "os": "text",
    "os_version": "text",
    "serial": "text",
    "last_seen": "moment",
    "tags": "texts",
    "facts": "facts",
}
TEST_STATES: Final = frozenset(
    {
        Status.PASS,
        Status.FAIL,
        Status.ERROR,
        Status.UNKNOWN,
        Status.NOT_APPLICABLE,
        Status.NOT_SELECTED,
        Status.NOT_CHECKED,
    }
)


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """A policy with what only its reader knows."""

    policy: CompliancePolicy
    unused_parameters: tuple[str, ...]


def read_policy(strict: Strict, root: Node, source: bytes) -> ReadPolicy | None:
    """One document; None where it has no id or no readable checks."""
    entries = strict.mapping(root, "a policy", known=POLICY_KEYS, required=POLICY_REQUIRED)
    if not entries:
        return None
    if sum(key in entries for key in POLICY_ONE_OF) != 1:
        words = " or ".join(map(repr, POLICY_ONE_OF))
        strict.wrong(root.position, "missing_key", f"a policy has either {words}")
    parameters = read_parameters(strict, entries.get("parameters"))
    substitution = Substitution(strict, parameters)
    checks = CheckReader(strict, substitution)
    policy = CompliancePolicy(
        id=_read_id(strict, entries.get("id")),
        name=strict.text(entries.get("name"), "name", empty=False),
        check=checks.checks(entries.get("checks"), root.position),
        source=source,
        sha256=hashlib.sha256(source).hexdigest(),
        description=strict.text(entries.get("description"), "description"),
        severity=strict.word(entries.get("severity"), "severity", Severity, Severity.MEDIUM),
        rationale=strict.text(entries.get("rationale"), "rationale"),
        remediation=strict.text(entries.get("remediation"), "remediation"),
        references=_read_references(strict, entries.get("references")),
        tags=strict.texts(entries.get("tags"), "tags"),
        enabled=strict.flag(entries.get("enabled"), "enabled", default=True),
        targets=_read_targets(strict, entries.get("targets"), checks),
        parameters=parameters,
        on_missing=strict.word(
            entries.get("on_missing"), "on_missing", OnMissing, OnMissing.UNKNOWN
        ),
        tests=_read_tests(strict, entries.get("tests")),
        attestation=_read_question(strict, entries.get("attestation")),
        grace=_read_duration(strict, entries.get("grace"), "grace"),
        position=root.position,
    )
    unused = tuple(name for name in parameters if name not in substitution.used)
    return ReadPolicy(policy, unused)


def _read_id(strict: Strict, node: Node | None) -> str:
    text = strict.text(node, "id")
    if node is not None and isinstance(node.scalar, str) and not ID_PATTERN.fullmatch(text):
        strict.wrong(
            node.position,
            "invalid_value",
            f"id has letters, digits and . _ -, at most {MAX_ID_CHARACTERS}, not {text[:80]!r}",
        )
    return text


def _read_question(strict: Strict, node: Node | None) -> Question | None:
    if node is None:
        return None
    entries = strict.mapping(
        node, "attestation", known=ATTESTATION_KEYS, required=ATTESTATION_REQUIRED
    )
    text = strict.text(entries.get("question"), "attestation.question", empty=False)
    return Question(text, _read_duration(strict, entries.get("period"), "attestation.period"))


def _read_duration(strict: Strict, node: Node | None, what: str) -> timedelta:
    text = strict.text(node, what, empty=False)
    if node is None or not text.strip():
        return timedelta(0)
    try:
        duration = parse_duration(text)
    except ValueError as error:
        strict.wrong(node.position, "invalid_value", f"{what}: {error}")
        return timedelta(0)
    if not duration:
        strict.wrong(node.position, "invalid_value", f"{what} is longer than nothing")
    return duration


def _read_references(strict: Strict, node: Node | None) -> tuple[Reference, ...]:
    references = []
    for member in strict.members(node, "references"):
        entries = strict.mapping(
            member, "a reference", known=REFERENCE_KEYS, required=REFERENCE_REQUIRED
        )
        texts = {key: strict.text(value, key, empty=False) for key, value in entries.items()}
        if "framework" in texts and "control" in texts:
            references.append(Reference(**texts))
    return tuple(references)


def _read_targets(strict: Strict, node: Node | None, checks: CheckReader) -> Targets:
    if node is None:
        return Targets()
    entries = strict.mapping(node, "targets", known=TARGET_KEYS)
    return Targets(
        os=strict.texts(entries.get("os"), "targets.os"),
        tags=strict.texts(entries.get("tags"), "targets.tags"),
        os_version=checks.os_version(entries.get("os_version")),
        where=checks.condition(entries.get("where"), "targets.where"),
    )


def _read_tests(strict: Strict, node: Node | None) -> tuple[PolicyTest, ...]:
    return tuple(_read_test(strict, member) for member in strict.members(node, "tests"))


def _read_test(strict: Strict, node: Node) -> PolicyTest:
    entries = strict.mapping(node, "a test", known=TEST_KEYS, required=TEST_REQUIRED)
    expect = strict.word(entries.get("expect"), "expect", Status, Status.PASS)
    if expect not in TEST_STATES:
        strict.wrong(
            entries["expect"].position, "invalid_value", f"no check alone can give {expect}"
        )
    as_of = entries.get("as_of")
    moment = _read_moment(strict, as_of, "as_of")
    return PolicyTest(
        name=strict.text(entries.get("name"), "name", empty=False),
        device=_read_device(strict, entries.get("device")),
        expect=expect,
        position=node.position,
        as_of=parse_time(moment) if moment else None,
    )


def _read_moment(strict: Strict, node: Node | None, what: str) -> str:
    text = strict.text(node, what, empty=False)
    if node is None or not text.strip():
        return ""
    try:
        parse_time(text)
    except ValueError as error:
        strict.wrong(node.position, "invalid_value", f"{what}: {error}")
        return ""
    return text


def _read_device(strict: Strict, node: Node | None) -> dict[str, Any]:
    if node is None:
        return {}
    entries = strict.mapping(node, "a test's device", known=frozenset(DEVICE_KINDS))
    device: dict[str, Any] = {}
    for key, value in entries.items():
        kind = DEVICE_KINDS[key]
        if kind == "facts":
            if value.kind == "mapping":
                device[key] = value.plain()
            else:
                strict.wrong(value.position, "wrong_type", "facts is a mapping")
        elif kind == "texts":
            device[key] = strict.texts(value, key)
        elif kind == "moment":
            device[key] = _read_moment(strict, value, key)
        else:
            device[key] = strict.text(value, key)
    return {key: value for key, value in device.items() if value != ""}
