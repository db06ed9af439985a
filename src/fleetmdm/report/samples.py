"""The first rows of each policy, for forms that show a few of many; memory is bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fleetmdm.report.model import PROBLEM_STATES, Report, ReportRow

MAX_SAMPLES: Final = 50
"""Rows of one policy."""


def sample_rows(report: Report, limit: int = MAX_SAMPLES) -> Mapping[str, Sequence[ReportRow]]:
    """By policy id, the first problem rows in the order of the devices."""
    samples: dict[str, list[ReportRow]] = {line.policy.id: [] for line in report.lines}
    for each in report.rows:
        kept = samples[each.policy.id]
        if each.row.status in PROBLEM_STATES and len(kept) < limit:
            kept.append(each)
    return samples
