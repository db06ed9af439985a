"""What to fix first, and which verdicts flap. Pure.

A policy's score is the sum, over the devices that have a problem with it, of the weight of the
verdict's severity times the age of the problem: 1 on the first day, and one more for every thirty
days, at most 10. What is waived or in grace has an owner and is counted apart. So one critical
failure of yesterday (40) stands above a low one of half a year (7), and many of one kind above few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fleetmdm.governance.effective import EXCUSED, EffectiveStatus, JudgedRow
from fleetmdm.policy import CompliancePolicy, check_severities, worst_severity
from fleetmdm.results import SILENT, ResultRow, Severity, Status

WEIGHTS: Final[Mapping[Severity, int]] = {
    Severity.INFO: 0,
    Severity.LOW: 1,
    Severity.MEDIUM: 4,
    Severity.HIGH: 15,
    Severity.CRITICAL: 40,
}
"""How much more one step of severity matters than the one below; `info` asks for nothing."""

AGE_STEP: Final = timedelta(days=30)
MAX_AGE_FACTOR: Final = 10.0

MIN_FLAPS: Final = 3
"""Changes between a problem and none, within the runs looked at, that make a verdict flap."""


@dataclass(slots=True)
class TriageLine:
    """One policy that somebody should look at."""

    policy: CompliancePolicy
    score: float = 0.0
    severity: Severity = Severity.INFO
    """The worst of its open verdicts; its policy's where there is none."""
    devices: int = 0
    """Those with a problem that nobody answers for."""
    excused: int = 0
    """Those whose problem is waived or in grace."""
    oldest: datetime | None = None
    """Since when the oldest open problem has stood."""
    states: Counter[EffectiveStatus] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """The first devices, by id."""

    def why(self) -> str:
        """How the score came about, in words."""
        if not self.devices:
            return "nobody is asked for anything: waived or in grace"
        weight = WEIGHTS[self.severity]
        mean = self.score / (self.devices * weight) if weight else 1
        devices = "1 device" if self.devices == 1 else f"{self.devices} devices"
        return f"{devices} x {self.severity} ({weight}) x age {mean:.1f}"


MAX_EXAMPLES: Final = 5


Owners = dict[str, Counter[str]]
"""By policy id: how many of its open problems each owner has."""


def count_owners(
    rows: Iterable[JudgedRow], owned: Iterable[tuple[str, str]], owners: Owners
) -> Iterator[JudgedRow]:
    """The same rows, counted by owner as they pass; both come in the order of the device ids."""
    following = iter(owned)
    device_id, owner = next(following, ("", ""))
    for each in rows:
        while owner and device_id < each.row.device_id:
            device_id, owner = next(following, ("", ""))
        if owner and device_id == each.row.device_id and each.effective.status not in EXCUSED:
            owners.setdefault(each.row.policy_id, Counter())[owner] += 1
        yield each


def age_factor(began: datetime, as_of: datetime) -> float:
    """1 for a problem of today, one more for every thirty days, at most 10."""
    age = max(as_of - began, timedelta(0))
    return min(1 + age / AGE_STEP, MAX_AGE_FACTOR)


def rank(
    rows: Iterable[JudgedRow], policies: Iterable[CompliancePolicy], *, as_of: datetime
) -> list[TriageLine]:
    """Policies with problems, the most pressing first; ties by id."""
    lines = {policy.id: TriageLine(policy) for policy in policies}
    severities = {name: check_severities(line.policy.check) for name, line in lines.items()}
    for each in rows:
        line = lines.get(each.row.policy_id)
        if line is not None and each.failing_since is not None:
            _add(line, each, severities[each.row.policy_id], as_of)
    found = [line for line in lines.values() if line.devices or line.excused]
    for line in found:
        if not line.devices:
            line.severity = line.policy.severity
    return sorted(found, key=lambda line: (-line.score, -line.devices, line.policy.id))


def _add(
    line: TriageLine, each: JudgedRow, severities: Mapping[str, Severity], as_of: datetime
) -> None:
    line.states[each.effective.status] += 1
    if each.effective.status in EXCUSED:
        line.excused += 1
        return
    began = each.failing_since or as_of
    severity = worst_severity(line.policy.severity, severities, each.row.findings)
    line.score += WEIGHTS[severity] * age_factor(began, as_of)
    line.severity = max(line.severity, severity, key=list(Severity).index)
    line.devices += 1
    line.oldest = began if line.oldest is None else min(began, line.oldest)
    if len(line.examples) < MAX_EXAMPLES:
        line.examples.append(each.row.device_id)


@dataclass(frozen=True, slots=True)
class Flap:
    """A pair whose verdict goes to and fro."""

    device_id: str
    policy_id: str
    changes: int
    """How often it went from a problem to none or back."""
    status: Status | None
    """Its loud state in the newest run; None where it is silent."""


def find_flaps(
    intervals: Iterable[ResultRow], *, first_run: int, last_run: int, least: int = MIN_FLAPS
) -> list[Flap]:
    """Pairs that changed between a problem and none at least so often, most changes first.

    `intervals` are those that hold at a run from `first_run` to `last_run`, in any order.
    """
    spans: dict[tuple[str, str], list[ResultRow]] = {}
    for row in intervals:
        if row.status in _PROBLEMS:
            spans.setdefault((row.device_id, row.policy_id), []).append(row)
    found = []
    for (device_id, policy_id), rows in spans.items():
        changes, status = _changes(rows, first_run, last_run)
        if changes >= least:
            found.append(Flap(device_id, policy_id, changes, status))
    return sorted(found, key=lambda one: (-one.changes, one.device_id, one.policy_id))


_PROBLEMS: Final = frozenset({Status.FAIL, Status.ERROR, Status.UNKNOWN}) - SILENT


def _changes(rows: list[ResultRow], first_run: int, last_run: int) -> tuple[int, Status | None]:
    """Borders between problem and none; two problems that follow each other have none between."""
    begins = {row.since_run for row in rows if row.since_run > first_run}
    ends = {row.until_run for row in rows if row.until_run is not None}
    ends = {run for run in ends if run <= last_run}
    status = next(
        (row.status for row in rows if row.until_run is None or row.until_run > last_run), None
    )
    return len(begins ^ ends), status
