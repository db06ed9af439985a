"""A report as Markdown, for tickets and pull requests: the totals, then a few rows of each policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from clikit.table import show_text
from fleetmdm.report.model import (
    SCORED_STATES,
    PolicyLine,
    Report,
    ReportRow,
    score,
)
from fleetmdm.report.samples import (
    data_command,
    redaction_words,
    rows_left_out,
    safe_url,
    sample_rows,
    shorten,
)
from fleetmdm.report.to_table import describe
from fleetmdm.results import Status
from fleetmdm.rfc3339 import encode_time

_COLUMNS = (*SCORED_STATES, Status.NOT_APPLICABLE)
_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>()#+!|~&:@-"})


def render(report: Report, *, data_url: str | None = None) -> Iterator[str]:
    """The whole document; `data_url` is where every row is kept."""
    run = report.run
    samples = sample_rows(report)
    yield f"# {report.title}\n\n"
    yield (
        f"As of {encode_time(run.as_of)}: {report.device_count} devices, "
        f"{len(report.lines)} of {run.policies} policies, "
        f"score {_percent(score(report.totals()))}.\n\n"
    )
    words = [*report.selection.words(), *redaction_words(report)]
    if words:
        yield f"Shown: {markdown_text('; '.join(words))}.\n\n"
    yield _row(("policy", "severity", *_COLUMNS, "score"))
    yield _row(["---"] * (len(_COLUMNS) + 3))
    for line in report.lines:
        counts = (str(line.count(state)) for state in _COLUMNS)
        cells = (markdown_text(line.policy.name), line.policy.severity, *counts)
        yield _row((*cells, _percent(score(line.counts))))
    for line in report.lines:
        yield from _section(report, line, samples[line.policy.id], data_url)


def _section(
    report: Report, line: PolicyLine, rows: Sequence[ReportRow], data_url: str | None
) -> Iterator[str]:
    if not rows:
        return
    policy = line.policy
    yield f"\n## {markdown_text(policy.name)}\n\n"
    if policy.remediation:
        yield f"{markdown_text(policy.remediation)}\n\n"
    for each in rows:
        what = "; ".join(describe(finding) for finding in each.findings())
        yield (
            f"- {markdown_text(each.row.device_id)}: **{markdown_text(each.state)}**: "
            f"{markdown_text(shorten(what))}\n"
        )
    more = rows_left_out(report, line, rows)
    if more > 0:
        where = f"<{safe_url(data_url)}>" if data_url else f"`{data_command(report, policy.id)}`"
        yield f"- and {more} more: {where}\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


@lru_cache(maxsize=4096)
def markdown_text(value: str) -> str:
    """Text that Markdown shows as it is: no markup, no link, no HTML."""
    return show_text(" ".join(value.split())).translate(_ESCAPED)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value} %"
