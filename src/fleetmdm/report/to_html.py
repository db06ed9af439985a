"""A report as one self-contained HTML file: no script, no request to anywhere, dark and light.

Every text goes through `_text`; the policy in the head forbids what should ever slip past it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

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

_COLUMNS: Final = (*SCORED_STATES, Status.NOT_APPLICABLE)
_STYLE: Final = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.45; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .35rem .6rem; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td, li { overflow-wrap: anywhere; }
"""


def render(report: Report) -> Iterator[str]:
    """The whole document."""
    run, samples = report.run, sample_rows(report)
    title = f"Compliance report, run {run.run_id}"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
    )
    yield (
        f"<h1>{title}</h1>\n<p>As of {encode_time(run.as_of)}: {run.devices} devices, "
        f"{run.policies} policies, score {_percent(score(report.totals()))}.</p>\n"
    )
    yield from _totals(report)
    for line in report.lines:
        yield from _section(line, samples[line.policy.id])
    yield "</main>\n</body>\n</html>\n"


def _totals(report: Report) -> Iterator[str]:
    heads = "".join(f'<th scope="col" class="n">{state}</th>' for state in (*_COLUMNS, "score"))
    yield (
        "<table>\n<caption>Policies, with the number of devices in each state</caption>\n"
        '<thead><tr><th scope="col">policy</th><th scope="col">severity</th>'
        f"{heads}</tr></thead>\n<tbody>\n"
    )
    for line in report.lines:
        counts = "".join(f'<td class="n">{line.count(state)}</td>' for state in _COLUMNS)
        yield (
            f'<tr><th scope="row">{_text(line.policy.name)}</th><td>{line.policy.severity}</td>'
            f'{counts}<td class="n">{_percent(score(line.counts))}</td></tr>\n'
        )
    yield "</tbody>\n</table>\n"


def _section(line: PolicyLine, rows: Sequence[ReportRow]) -> Iterator[str]:
    if not rows:
        return
    policy = line.policy
    yield f"<section>\n<h2>{_text(policy.name)}</h2>\n"
    for text in (policy.description, policy.remediation):
        if text:
            yield f"<p>{_text(text)}</p>\n"
    yield "<ul>\n"
    for each in rows:
        what = "; ".join(describe(finding) for finding in each.findings())
        yield (
            f"<li>{_text(each.row.device_id)}: <strong>{_text(each.state)}</strong>: "
            f"{_text(what)}</li>\n"
        )
    more = sum(line.count(state) for state in PROBLEM_STATES) - len(rows)
    if more > 0:
        yield f"<li>and {more} more</li>\n"
    yield "</ul>\n</section>\n"


def _text(value: str) -> str:
    return escape(show_text(" ".join(value.split())))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value} %"
