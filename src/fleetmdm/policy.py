"""The compliance policy as values: a tree of checks with everything that a report needs beside it.

Pure. `policy_yaml` makes these from YAML; `evaluate` decides them; `lint` reasons about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from fleetmdm.results import Finding, Severity, Status


class OnMissing(StrEnum):
    """What a leaf says when its fact is absent. Unknown is the default; the others are asked for."""

    UNKNOWN = "unknown"
    PASS = "pass"  # noqa: S105 - a verdict, not a secret
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a node stands in its source; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """One comparison of one fact. `path` is the leaf's place, for example "checks[0].any[1]"."""

    path: str
    key: str
    op: str
    value: Any
    position: Position
    message: str = ""
    on_missing: OnMissing | None = None
    scheme: str | None = None
    """How versions are compared by `version_*`: dpkg, rpm, semver, pep440, macos."""
    severity: Severity | None = None
    """How much it matters that this check fails; None is as much as its policy."""


class Combine(StrEnum):
    """How a group's members are combined (Kleene's three-valued logic)."""

    ALL = "all"
    ANY = "any"
    NOT = "not"
    NONE = "none"
    WHEN = "when"
    """Two members: a condition, and the check that applies where it holds."""


@dataclass(frozen=True, slots=True)
class Group:
    """A composition of checks. `NOT` has exactly one member."""

    path: str
    combine: Combine
    members: tuple[Node, ...]
    position: Position


Node = Leaf | Group


@dataclass(frozen=True, slots=True)
class Targets:
    """Which devices a policy is for. Empty fields do not restrict."""

    os: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    os_version: Leaf | None = None
    where: Node | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A control of some framework that this policy speaks to."""

    framework: str
    control: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """An example device and the state that the policy must give it."""

    name: str
    device: Mapping[str, Any]
    expect: Status
    position: Position
    as_of: datetime | None = None
    """The moment of the check; None where the author did not care."""


def check_severities(node: Node) -> dict[str, Severity]:
    """The severity of each check below that has one of its own, by its place."""
    if isinstance(node, Leaf):
        return {} if node.severity is None else {node.path: node.severity}
    return {
        path: each for member in node.members for path, each in check_severities(member).items()
    }


def worst_severity(
    own: Severity, by_check: Mapping[str, Severity], findings: Iterable[Finding]
) -> Severity:
    """How much a verdict matters: the most that any of its findings does.

    A finding matters as much as its check says, or else as its policy (`own`) does; a verdict
    without findings as its policy.
    """
    order = list(Severity)
    graded = [by_check.get(finding.check, own) for finding in findings]
    return max(graded, key=order.index, default=own)


@dataclass(frozen=True, slots=True)
class Question:
    """What only a person can answer, and for how long an answer stands."""

    text: str
    period: timedelta


@dataclass(frozen=True, slots=True)
class CompliancePolicy:
    """One policy. `check` is the `all` of its `checks`; `sha256` is over its exact source bytes."""

    id: str
    name: str
    check: Group
    source: bytes = field(repr=False)
    sha256: str
    description: str = ""
    severity: Severity = Severity.MEDIUM
    rationale: str = ""
    remediation: str = ""
    references: tuple[Reference, ...] = ()
    tags: tuple[str, ...] = ()
    enabled: bool = True
    targets: Targets = Targets()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on_missing: OnMissing = OnMissing.UNKNOWN
    tests: tuple[PolicyTest, ...] = ()
    attestation: Question | None = None
    """Set instead of checks: no fact answers it, so that its raw state is notchecked."""
    grace: timedelta = timedelta(0)
    """How long a device may fail before that counts."""
    position: Position = Position(1, 1)
