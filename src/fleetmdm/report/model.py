"""What a report says of a run, as a value: totals for every policy, and the rows behind them.

Pure. Rule for editors: renderers read this and nothing else; `rows` streams and is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fleetmdm.governance.effective import (
    EXCUSED,
    Differences,
    Effective,
    EffectiveStatus,
    JudgedRow,
)
from fleetmdm.policy import CompliancePolicy, check_severities, worst_severity
from fleetmdm.report.selection import EVERYTHING, Selection, SortBy
from fleetmdm.results import Finding, ResultRow, Run, Severity, Status

PROBLEM_STATES = (Status.FAIL, Status.ERROR, Status.UNKNOWN)
"""States that keep a policy from being met, worst first."""

SCORED_STATES = (Status.PASS, *PROBLEM_STATES)
"""What a score is taken of; the other states stand beside it."""


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One policy's totals."""

    policy: CompliancePolicy
    counts: Mapping[Status, int]
    differences: Differences = field(default_factory=dict)

    def count(self, status: Status) -> int:
        """Devices in this raw state."""
        return self.counts.get(status, 0)

    def count_open(self, status: Status) -> int:
        """Devices in this raw state for which nobody answers."""
        excused = sum(
            count
            for (raw, state), count in self.differences.items()
            if raw is status and state in EXCUSED
        )
        return self.count(status) - excused

    @property
    def is_met(self) -> bool:
        """No device fails, errs or is unknown but those that somebody answers for."""
        return not any(self.count_open(state) for state in PROBLEM_STATES)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One verdict that is not silent, with what its policy says."""

    row: ResultRow
    policy: CompliancePolicy
    effective: Effective
    severity: Severity
    """That of the verdict: a check may have one of its own."""

    @property
    def state(self) -> str:
        """The effective state for people, with the raw one where that is another."""
        raw, state = self.row.status.value, self.effective.status.value
        return raw if raw == state else f"{state} ({raw})"

    def findings(self) -> Sequence[Finding]:
        """What was found; empty for a policy that is not selected."""
        return self.row.findings


@dataclass(frozen=True, slots=True)
class Report:
    """A run as a person or a machine wants to see it."""

    run: Run
    lines: Sequence[PolicyLine]
    rows: Iterable[ReportRow]
    selection: Selection = EVERYTHING
    """Where it chooses devices, the counts are of those devices."""
    live: bool = False
    """Judged just now and not recorded: then the run has no number and no hashes."""
    redaction: str = "none"
    """The profile by which rows were redacted."""
    devices: int | None = None
    """How many devices the counts are of, where that is not all of the run's."""

    @property
    def title(self) -> str:
        """What this is, in a few words."""
        return "Compliance now" if self.live else f"Compliance report, run {self.run.run_id}"

    @property
    def device_count(self) -> int:
        """How many devices the counts are of."""
        return self.run.devices if self.devices is None else self.devices

    def totals(self) -> dict[Status, int]:
        """Counts over the policies shown, in the order of the states."""
        return add_counts(line.counts for line in self.lines)

    def by_severity(self) -> dict[Severity, dict[Status, int]]:
        """Counts for each severity that a policy has, most severe first."""
        return {
            severity: add_counts(
                line.counts for line in self.lines if line.policy.severity is severity
            )
            for severity in reversed(Severity)
            if any(line.policy.severity is severity for line in self.lines)
        }


def add_counts(many: Iterable[Mapping[Status, int]]) -> dict[Status, int]:
    """The sums, in the order of the states, without zeros."""
    each = list(many)
    sums = {state: sum(counts.get(state, 0) for counts in each) for state in Status}
    return {state: count for state, count in sums.items() if count}


def score(counts: Mapping[Status, int]) -> float | None:
    """Passes per hundred of what was decided or should have been; None where there is nothing."""
    scored = sum(counts.get(state, 0) for state in SCORED_STATES)
    return round(100 * counts.get(Status.PASS, 0) / scored, 1) if scored else None


def sort_lines(lines: Iterable[PolicyLine], by: SortBy) -> list[PolicyLine]:
    """Policies in the order asked for; ties by name, then id."""
    severities = list(Severity)

    def rank(line: PolicyLine) -> tuple[Any, ...]:
        failed, passed = line.count(Status.FAIL), line.count(Status.PASS)
        first: tuple[float, ...] = {
            SortBy.SEVERITY: (
                -severities.index(line.policy.severity),
                -failed,
                -line.count(Status.ERROR),
            ),
            SortBy.FAILED: (-failed, -passed),
            SortBy.NAME: (),
            SortBy.PASSED: (-passed, failed),
            SortBy.SCORE: (1000.0 if (rated := score(line.counts)) is None else rated, -failed),
        }[by]
        return (*first, line.policy.name.casefold(), line.policy.id)

    return sorted(lines, key=rank)


def row_stream(
    rows: Iterable[ResultRow | JudgedRow],
    lines: Sequence[PolicyLine],
    selection: Selection = EVERYTHING,
) -> Iterator[ReportRow]:
    """The rows of the policies that are shown, within the bounds.

    A row that nobody judged stands as it is.
    """
    kept = _rows_shown(rows, lines, only_failing=selection.only_failing)
    end = selection.offset + selection.limit if selection.limit else None
    return islice(kept, selection.offset, end)


def _rows_shown(
    rows: Iterable[ResultRow | JudgedRow], lines: Sequence[PolicyLine], *, only_failing: bool
) -> Iterator[ReportRow]:
    shown = {line.policy.id: (line.policy, check_severities(line.policy.check)) for line in lines}
    for each in rows:
        row = each.row if isinstance(each, JudgedRow) else each
        if row.policy_id not in shown or (only_failing and row.status is not Status.FAIL):
            continue
        policy, severities = shown[row.policy_id]
        state = (
            each.effective
            if isinstance(each, JudgedRow)
            else Effective(EffectiveStatus(row.status.value))
        )
        severity = worst_severity(policy.severity, severities, row.findings)
        yield ReportRow(row, policy, state, severity)
