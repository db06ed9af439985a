"""A report as one self-contained HTML file: no script, no request to anywhere, dark and light.

Every text goes through `text`; the policy in the head forbids what should ever slip past it. The
whole stays under `MAX_BYTES`: past it, the details of a policy are a count and where to find them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleetmdm.report.model import PROBLEM_STATES, PolicyLine, Report, ReportRow, score
from fleetmdm.report.samples import redaction_words, sample_rows
from fleetmdm.report.to_html.details import render_details
from fleetmdm.report.to_html.parts import bar, percent, severity_badge, text
from fleetmdm.report.to_html.style import STYLE
from fleetmdm.results import Status
from fleetmdm.rfc3339 import encode_time

MAX_BYTES: Final = 1_800_000
"""Of the document, but for the table of policies."""

COUNTED: Final = (Status.PASS, *PROBLEM_STATES, Status.NOT_APPLICABLE)


def render(report: Report, *, data_url: str | None = None) -> Iterator[str]:
    """The whole document; `data_url` is where every row is kept."""
    samples = sample_rows(report)
    left = MAX_BYTES
    for chunk in (*_head(report), *_summary(report), *_policies(report, samples)):
        left -= len(chunk.encode())
        yield chunk
    for number, line in enumerate(report.lines):
        for chunk in render_details(report, line, number, samples[line.policy.id], data_url, left):
            left -= len(chunk.encode())
            yield chunk
    yield from _foot(report)


def _head(report: Report) -> Iterator[str]:
    run = report.run
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#policies">Skip to the policies</a>\n'
        f"<header>\n<h1>{text(report.title)}</h1>\n"
    )
    yield (
        f'<p class="when">As of <time datetime="{encode_time(run.as_of)}">'
        f"{run.as_of:%Y-%m-%d %H:%M} UTC</time>, {report.device_count:,} devices, "
        f"{len(report.lines):,} of {run.policies:,} policies.</p>\n"
    )
    words = [*report.selection.words(), *redaction_words(report)]
    if words:
        items = "".join(f"<li>{text(word)}</li>" for word in words)
        yield f'<ul class="chips" aria-label="What is shown">{items}</ul>\n'
    yield "</header>\n<main>\n"


def _summary(report: Report) -> Iterator[str]:
    totals = report.totals()
    met = sum(line.is_met and line.count(Status.PASS) > 0 for line in report.lines)
    decided = sum(any(line.count(state) for state in COUNTED[:-1]) for line in report.lines)
    cards = [
        ("score", percent(score(totals)), "passes of what was decided"),
        ("policies met", f"{met:,} of {decided:,}", "by every device that they apply to"),
        *((state.value, f"{totals.get(state, 0):,}", _MEANINGS[state]) for state in PROBLEM_STATES),
    ]
    yield '<section aria-label="Summary">\n<dl class="cards">\n'
    for name, figure, meaning in cards:
        kind = f" is-{name}" if name in _KINDS and figure != "0" else ""
        yield f'<div class="card{kind}"><dt>{name}</dt><dd>{figure}<small>{meaning}</small></dd></div>\n'
    yield "</dl>\n"
    if report.lines:
        yield from _severities(report)
    yield "</section>\n"


_MEANINGS: Final = {
    Status.FAIL: "verdicts that do not hold",
    Status.ERROR: "could not be judged: a wrong type",
    Status.UNKNOWN: "could not be judged: a fact is missing",
}
_KINDS: Final = frozenset(state.value for state in PROBLEM_STATES)


def _severities(report: Report) -> Iterator[str]:
    yield (
        '<h2>By severity</h2>\n<div class="wide" role="region" tabindex="0" '
        'aria-label="By severity">\n<table>\n'
        f'<thead><tr><th scope="col">severity</th>{_state_heads()}</tr></thead>\n<tbody>\n'
    )
    for severity, counts in report.by_severity().items():
        cells = "".join(_count_cell(state, counts.get(state, 0)) for state in COUNTED)
        yield (
            f'<tr><th scope="row">{severity_badge(severity)}</th>{cells}'
            f'<td class="n">{percent(score(counts))}</td><td class="b">{bar(counts)}</td></tr>\n'
        )
    yield "</tbody>\n</table>\n</div>\n"


def _state_heads() -> str:
    heads = "".join(f'<th scope="col" class="n">{state}</th>' for state in COUNTED)
    return f'{heads}<th scope="col" class="n">score</th><th scope="col">share</th>'


def _count_cell(state: Status, count: int) -> str:
    kind = f" is-{state}" if state in PROBLEM_STATES and count else "" if count else " zero"
    return f'<td class="n{kind}">{count:,}</td>'


def _policies(report: Report, samples: dict[str, list[ReportRow]]) -> Iterator[str]:
    if not report.lines:
        yield (
            '<section>\n<h2 id="policies">Policies</h2>\n'
            '<p class="note">No policy is as asked for.</p>\n</section>\n'
        )
        return
    yield (
        '<section>\n<h2 id="policies">Policies</h2>\n'
        f'<p class="note">In the order of {report.selection.sort_by}; the counts are devices.</p>\n'
        '<div class="wide" role="region" tabindex="0" aria-label="Policies">\n<table>\n'
        '<thead><tr><th scope="col">policy</th><th scope="col">severity</th>'
        f"{_state_heads()}</tr></thead>\n<tbody>\n"
    )
    for number, line in enumerate(report.lines):
        yield _policy_row(line, number, has_details=bool(samples[line.policy.id]))
    yield "</tbody>\n</table>\n</div>\n</section>\n"


def _policy_row(line: PolicyLine, number: int, *, has_details: bool) -> str:
    policy = line.policy
    name = text(policy.name)
    linked = f'<a href="#p{number}">{name}</a>' if has_details else name
    cells = "".join(_count_cell(state, line.count(state)) for state in COUNTED)
    return (
        f'<tr><th scope="row">{linked}<small><code>{text(policy.id)}</code></small></th>'
        f"<td>{severity_badge(policy.severity)}</td>{cells}"
        f'<td class="n">{percent(score(line.counts))}</td>'
        f'<td class="b">{bar(line.counts)}</td></tr>\n'
    )


def _foot(report: Report) -> Iterator[str]:
    run = report.run
    yield "</main>\n<footer>\n"
    yield f"<p>FleetMDM {text(run.tool_version)}"
    if report.live:
        yield "; judged for this page and not recorded"
    for name, value in (("policies", run.policy_set_hash), ("results", run.result_root)):
        if value:
            yield f"; {name} <code>{text(value)}</code>"
    yield ".</p>\n</footer>\n</body>\n</html>\n"
