"""What was found under one policy: what to do about it, and the first devices it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from fleetmdm.report.model import PolicyLine, Report, ReportRow
from fleetmdm.report.samples import (
    MAX_TEXT_CHARS,
    data_command,
    rows_left_out,
    safe_url,
)
from fleetmdm.report.to_html.parts import paragraph, severity_badge, state_badge, text
from fleetmdm.report.to_table import describe
from fleetmdm.results import ResultRow

_WEB: Final = ("https://", "http://")


def render_details(
    report: Report,
    line: PolicyLine,
    number: int,
    rows: Sequence[ReportRow],
    data_url: str | None,
    left_bytes: int,
) -> Iterator[str]:
    """The section of one policy; rows only while there is room."""
    if not rows:
        return
    policy = line.policy
    yield (
        f'<section class="policy">\n'
        f'<h2 id="p{number}">{text(policy.name)} {severity_badge(policy.severity)}</h2>\n'
    )
    if left_bytes > 0:
        yield from _prose(line)
    shown = []
    for each in rows:
        cells = _row(report, each)
        left_bytes -= len(cells.encode())
        if left_bytes < 0:
            break
        shown.append(cells)
    if shown:
        yield (
            f'<div class="wide" role="region" tabindex="0" aria-label="Devices under {text(policy.id)}">\n'
            '<table>\n<thead><tr><th scope="col">device</th><th scope="col">state</th>'
            '<th scope="col">what was found</th><th scope="col">since</th></tr></thead>\n<tbody>\n'
        )
        yield from shown
        yield "</tbody>\n</table>\n</div>\n"
    yield from _more(report, line, rows[: len(shown)], data_url)
    yield '<p class="up"><a href="#policies">All policies</a></p>\n</section>\n'


def _prose(line: PolicyLine) -> Iterator[str]:
    policy = line.policy
    if policy.description:
        yield f"<p>{paragraph(policy.description)}</p>\n"
    if policy.remediation:
        yield f'<p class="fix"><strong>To do:</strong> {paragraph(policy.remediation)}</p>\n'
    if policy.references:
        items = "".join(
            f"<li>{_reference(f'{each.framework} {each.control}', each.url)}</li>"
            for each in policy.references[:20]
        )
        yield f'<ul class="chips" aria-label="Controls">{items}</ul>\n'


def _reference(name: str, url: str) -> str:
    if not url.startswith(_WEB):
        return text(name)
    return f'<a href="{escape(safe_url(url))}" rel="noreferrer">{text(name)}</a>'


def _row(report: Report, each: ReportRow) -> str:
    found = "<br>".join(text(describe(finding), MAX_TEXT_CHARS) for finding in each.findings()[:5])
    return (
        f'<tr><th scope="row">{text(each.row.device_id)}</th>'
        f"<td>{state_badge(each)}</td><td>{found}</td>"
        f'<td class="since">{_since(report, each.row)}</td></tr>\n'
    )


def _since(report: Report, row: ResultRow) -> str:
    if not row.since_run:
        return "-"
    return "this run" if row.since_run == report.run.run_id else f"run {row.since_run}"


def _more(
    report: Report, line: PolicyLine, shown: Sequence[ReportRow], data_url: str | None
) -> Iterator[str]:
    more = rows_left_out(report, line, shown)
    if more <= 0:
        return
    command = f"<code>{escape(data_command(report, line.policy.id))}</code>"
    where = f'<a href="{escape(safe_url(data_url))}">every row</a>, or ' if data_url else ""
    yield f'<p class="more">… and {more:,} more: {where}{command}</p>\n'
