"""A report as Markdown, for tickets and pull requests: the totals, then a few rows of each policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from clikit.table import show_text
from fleetmdm.report.model import (
    PROBLEM_STATES,
    SCORED_STATES,
    PolicyLine,
    Report,
    ReportRow,
    score,
)
from fleetmdm.report.samples import sample_rows
from fleetmdm.report.to_table import describe
from fleetmdm.results import Status
from fleetmdm.rfc3339 import encode_time

_COLUMNS = (*SCORED_STATES, Status.NOT_APPLICABLE)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&:@-])")


def render(report: Report) -> Iterator[str]:
    """The whole document."""
    run = report.run
    samples = sample_rows(report)
    yield f"# Compliance report, run {run.run_id}\n\n"
    yield (
        f"As of {encode_time(run.as_of)}: {run.devices} devices, {run.policies} policies, "
        f"score {_percent(score(report.totals()))}.\n\n"
    )
    yield _row(("policy", "severity", *_COLUMNS, "score"))
    yield _row(["---"] * (len(_COLUMNS) + 3))
    for line in report.lines:
        counts = (str(line.count(state)) for state in _COLUMNS)
        cells = (_text(line.policy.name), line.policy.severity, *counts)
        yield _row((*cells, _percent(score(line.counts))))
    for line in report.lines:
        yield from _section(line, samples[line.policy.id])


def _section(line: PolicyLine, rows: Sequence[ReportRow]) -> Iterator[str]:
    if not rows:
        return
    policy = line.policy
    yield f"\n## {_text(policy.name)}\n\n"
    if policy.remediation:
        yield f"{_text(policy.remediation)}\n\n"
    for each in rows:
        what = "; ".join(describe(finding) for finding in each.findings())
        yield f"- {_text(each.row.device_id)}: **{_text(each.state)}**: {_text(what)}\n"
    more = sum(line.count(state) for state in PROBLEM_STATES) - len(rows)
    if more > 0:
        yield f"- and {more} more\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _text(value: str) -> str:
    """Text that Markdown shows as it is: no markup, no link, no HTML."""
    return _SPECIAL.sub(r"\\\1", show_text(" ".join(value.split())))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value} %"
