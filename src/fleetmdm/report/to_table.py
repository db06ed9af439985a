"""A report for a terminal: totals by severity, a line for each policy, then what was found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from clikit.table import render_table, show_text
from fleetmdm.report.model import PROBLEM_STATES, Report, ReportRow, score
from fleetmdm.results import Finding, Status
from fleetmdm.rfc3339 import encode_second

MAX_ROWS = 200
"""Rows that a terminal gets; machine formats give every one."""

_COLUMNS = (Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE)

_HEADERS = (*_COLUMNS[:-1], "n/a")
"""Names of the columns: the longest state would cost a terminal what ids need."""


def render(report: Report, *, width: int | None, max_rows: int = MAX_ROWS) -> Iterator[str]:
    """The report as text."""
    run = report.run
    left_out = run.policies - len(report.lines)
    shown = f" ({len(report.lines)} of them below)" if left_out else ""
    head = "now" if report.live else f"run {run.run_id} of {encode_second(run.finished_at)}"
    yield f"{head}: {report.device_count} devices, {run.policies} policies{shown}\n"
    words = "; ".join(report.selection.words())
    if words:
        yield f"{show_text(words)}\n"
    if report.redaction != "none":
        yield f"redacted: {report.redaction}\n"
    yield "\n"
    yield from _severities(report, width)
    yield "\n"
    yield from _policies(report, width)
    yield from _effective(report, width)
    yield from _rows(report, width, max_rows)


def _severities(report: Report, width: int | None) -> Iterator[str]:
    rows = [
        (severity.value, *(counts.get(state, 0) for state in _COLUMNS), _percent(score(counts)))
        for severity, counts in report.by_severity().items()
    ]
    totals = report.totals()
    rows.append(("all", *(totals.get(state, 0) for state in _COLUMNS), _percent(score(totals))))
    yield render_table(("severity", *_HEADERS, "score"), rows, width=width)


def _policies(report: Report, width: int | None) -> Iterator[str]:
    rows = [
        (
            line.policy.severity.value,
            *(line.count(state) for state in _COLUMNS),
            line.policy.id,
            line.policy.name,
        )
        for line in report.lines
    ]
    yield render_table(("severity", *_HEADERS, "policy", "name"), rows, width=width)


def _effective(report: Report, width: int | None) -> Iterator[str]:
    rows = [
        (state.value, raw.value, count, line.policy.id)
        for line in report.lines
        for (raw, state), count in sorted(line.differences.items())
    ]
    if rows:
        yield "\nstands otherwise than it was judged:\n"
        yield render_table(("effective", "raw", "devices", "policy"), rows, width=width)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value} %"


def _rows(report: Report, width: int | None, max_rows: int) -> Iterator[str]:
    stream = (each for each in report.rows if each.row.status in PROBLEM_STATES)
    shown = list(islice(stream, max_rows))
    if not shown:
        return
    yield "\n"
    yield render_table(
        ("device", "policy", "state", "what"),
        [cells for each in shown for cells in _cells(each)],
        width=width,
    )
    more = sum(1 for _ in stream)
    if more:
        yield f"... and {more} more: --format json or csv gives every one\n"


def _cells(each: ReportRow) -> Iterator[tuple[str, str, str, str]]:
    row = each.row
    for finding in each.findings() or (None,):
        what = "" if finding is None else describe(finding)
        yield row.device_id, row.policy_id, each.state, what


def describe(finding: Finding) -> str:
    """One finding in a sentence."""
    observed = f", found {show_value(finding.observed)}" if finding.observed is not None else ""
    return f"{finding.message} ({finding.reason}{observed})"


def show_value(value: object) -> str:
    """A fact for people: JSON's words for booleans, long values cut."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
