"""Small pieces of the page: escaped text, shares as bars, badges."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from clikit.table import show_text
from fleetmdm.report.model import SCORED_STATES, ReportRow
from fleetmdm.report.samples import shorten
from fleetmdm.results import Severity, Status

MAX_NAME_CHARS: Final = 200


def text(value: str, limit: int = MAX_NAME_CHARS) -> str:
    """A text as the page shows it: on one line, bounded, no markup, no control character."""
    return escape(shorten(show_text(" ".join(value.split())), limit))


def paragraph(value: str) -> str:
    """A longer text, such as a policy's description."""
    return text(value, 2_000)


def percent(value: float | None) -> str:
    """A score; a dash where nothing was decided."""
    return "-" if value is None else f"{value} %"


def severity_badge(severity: Severity) -> str:
    """A severity, told by word and colour."""
    return f'<span class="badge s-{severity}">{severity}</span>'


def state_badge(each: ReportRow) -> str:
    """A state, told by word and colour; why it stands otherwise than it was judged, below."""
    raw, state = each.row.status.value, each.effective.status.value
    kind = f" is-{raw}" if raw == state else ""
    why = f"<small>{text(each.effective.reason)}</small>" if each.effective.reason else ""
    return f'<span class="badge{kind}">{each.state}</span>{why}'


def bar(counts: Mapping[Status, int]) -> str:
    """The shares of pass, fail, error and unknown, drawn; in words for who does not see it."""
    total = sum(counts.get(state, 0) for state in SCORED_STATES)
    if not total:
        return '<span class="none">not applicable</span>'
    shares = [(state, 100 * counts.get(state, 0) / total) for state in SCORED_STATES]
    parts = "".join(
        f'<i class="f-{state}" style="width:{share:.2f}%"></i>' for state, share in shares if share
    )
    words = ", ".join(f"{share:.0f} % {state}" for state, share in shares if share)
    return f'<span class="bar" role="img" aria-label="{words}">{parts}</span>'
