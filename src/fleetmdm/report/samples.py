"""The first rows of each policy, for forms that show a few of many; memory is bounded.

What is left out is counted, and where every row is to be had is said beside it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from fleetmdm.report.model import PROBLEM_STATES, PolicyLine, Report, ReportRow
from fleetmdm.results import Status

MAX_SAMPLES: Final = 50
"""Rows of one policy."""

MAX_ALL_SAMPLES: Final = 3_000
"""Rows of all policies; each has at least one."""

MAX_TEXT_CHARS: Final = 300
"""Characters of what one row says."""


def sample_rows(report: Report, limit: int = MAX_SAMPLES) -> dict[str, list[ReportRow]]:
    """By policy id, the first problem rows in the order of the devices."""
    each_limit = min(limit, max(1, MAX_ALL_SAMPLES // max(1, len(report.lines))))
    samples: dict[str, list[ReportRow]] = {line.policy.id: [] for line in report.lines}
    for each in report.rows:
        kept = samples[each.policy.id]
        if len(kept) < each_limit and each.row.status in PROBLEM_STATES:
            kept.append(each)
    return samples


def rows_left_out(report: Report, line: PolicyLine, rows: Sequence[ReportRow]) -> int:
    """How many rows of a policy are not among `rows`."""
    states = (Status.FAIL,) if report.selection.only_failing else PROBLEM_STATES
    return sum(line.count(state) for state in states) - len(rows)


def data_command(report: Report, policy_id: str) -> str:
    """The command that gives every row of a policy."""
    which = "--live" if report.live else f"--run {report.run.run_id}"
    return f"fleetmdm report {which} --policy {shlex.quote(policy_id)} --format csv"


def shorten(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """A text cut to so many characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def safe_url(url: str) -> str:
    """An address that can do nothing but be followed: web or relative, every odd sign quoted."""
    quoted = quote(url, safe="/:?#@!$&'*+,;=%~-._")
    scheme = quoted.partition(":")[0] if ":" in quoted.partition("/")[0] else ""
    return quoted if scheme.lower() in {"", "http", "https", "file"} else f"./{quoted}"


def redaction_words(report: Report) -> Iterator[str]:
    """That a report is redacted, in words."""
    if report.redaction != "none":
        yield f"redacted by profile {report.redaction}"
