"""Verdicts, runs and intervals: the vocabulary that evaluation, storage and reports share.

States are XCCDF 1.2's words (NIST IR 7275r4 section 6.6.4.2). Pure values, no behaviour that
needs a clock or a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What one policy says of one device."""

    PASS = "pass"  # noqa: S105 - XCCDF's word, not a secret
    FAIL = "fail"
    ERROR = "error"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "notapplicable"
    NOT_CHECKED = "notchecked"
    NOT_SELECTED = "notselected"
    INFORMATIONAL = "informational"
    FIXED = "fixed"


SILENT = frozenset({Status.PASS, Status.NOT_APPLICABLE})
"""States that have no row of their own in the store: they follow from the run's population."""


class Severity(StrEnum):
    """How much a failing policy matters, mildest first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One leaf of a policy that did not hold, with what was seen and what was wanted.

    `check` is the leaf's place in the policy, for example "checks[1].any[0]".
    `reason` is a stable lower_snake word: mismatch, missing, wrong_type, ...
    """

    check: str
    key: str
    op: str
    expected: Any
    observed: Any
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy says of one device, and until when that can stand by itself.

    `valid_until` is the next moment at which time alone can change the verdict; None is never.
    """

    device_id: str
    policy_id: str
    status: Status
    findings: tuple[Finding, ...] = ()
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation of the fleet. `counts` is per state over every (device, policy) pair."""

    run_id: int
    started_at: datetime
    finished_at: datetime
    as_of: datetime
    devices: int
    policies: int
    counts: dict[Status, int]
    tool_version: str
    policy_set_hash: str
    inventory_root: str
    result_root: str
    policy_counts: dict[str, dict[Status, int]] = field(default_factory=dict)
    """By policy id, how many devices have each state: what a report says without its passes."""
    only_assigned: bool = False
    """Told that a policy which is assigned nowhere applies nowhere."""
    stale_after_s: int = 0
    """Told that inventory older than so many seconds is stale; 0 is never."""
    roots: int = 2
    """How its roots were made: 2 over salted sets of leaves, 1 over unsalted lists."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A stored verdict: true from run `since_run` and up to, not including, `until_run`."""

    device_id: str
    policy_id: str
    status: Status
    findings: tuple[Finding, ...]
    since_run: int
    until_run: int | None


@dataclass(frozen=True, slots=True)
class Transition:
    """One pair whose status differs between two runs; None is no row (silent or out of scope).

    `findings` are those of the later run; empty where it has no row.
    """

    device_id: str
    policy_id: str
    before: Status | None
    after: Status | None
    findings: tuple[Finding, ...] = ()
