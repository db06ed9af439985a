"""A report as CSV (RFC 4180), safe to open in a spreadsheet.

A cell that a spreadsheet would take for a formula gets an apostrophe in front; control characters
are spelled out; every line ends with CRLF. One line for each finding.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from clikit.table import show_text
from fleetmdm.report.model import Report
from fleetmdm.report.samples import shorten
from fleetmdm.results import Finding

COLUMNS: Final = (
    "run_id",
    "device_id",
    "policy_id",
    "policy_name",
    "severity",
    "status",
    "effective",
    "effective_reason",
    "check",
    "key",
    "op",
    "expected",
    "observed",
    "reason",
    "message",
    "since_run",
)


class _Echo:
    """A file that keeps nothing and answers what it is given."""

    def write(self, text: str) -> str:
        return text


_WRITER: Final[Any] = csv.writer(_Echo(), lineterminator="\r\n")

_FORMULA: Final = frozenset("=+-@|%\uff1d\uff0b\uff0d\uff20")
"""What begins a formula, or a DDE call, in a spreadsheet; full-width forms are folded by some."""

MAX_CELL_CHARS: Final = 32_767
"""What a cell of Excel holds; a longer one would spill into the rows below. JSON has the whole."""


def render(report: Report) -> Iterator[str]:
    """The header, then a line for each finding of each row that is not silent."""
    yield _line(COLUMNS)
    for each in report.rows:
        row = each.row
        for finding in each.findings() or (None,):
            yield _line(
                (
                    report.run.run_id or "",
                    row.device_id,
                    row.policy_id,
                    each.policy.name,
                    each.severity.value,
                    row.status.value,
                    each.effective.status.value,
                    each.effective.reason,
                    *_finding_cells(finding),
                    row.since_run or "",
                )
            )


def _finding_cells(finding: Finding | None) -> tuple[Any, ...]:
    if finding is None:
        return ("",) * 7
    return (
        finding.check,
        finding.key,
        finding.op,
        _value(finding.expected),
        _value(finding.observed),
        finding.reason,
        finding.message,
    )


def _value(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(cells: Iterable[Any]) -> str:
    # The writer gives back what the `write` of its file answers: the line itself.
    line: str = _WRITER.writerow(
        [_safe_text(cell) if type(cell) is str else safe_cell(cell) for cell in cells]
    )
    return line


def safe_cell(value: Any) -> str | int:
    """A cell that no spreadsheet takes for a formula; our own whole numbers stay numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _safe_text(str(value))


@lru_cache(maxsize=4096)
def _safe_text(value: str) -> str:
    text = shorten(show_text(value), MAX_CELL_CHARS - 1)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA and text.strip() else text
