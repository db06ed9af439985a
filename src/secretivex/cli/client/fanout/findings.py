"""Verdicts of checks, and how a command tells them: what `preflight` and `doctor` have in common.

Rule for editors: what could not be found out is `unknown`, never `ok`; every command that tells
findings tells them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from clikit.command import Call
from clikit.table import render_table, show_text
from secretivex.errors import SecretiveError

State = Literal["ok", "warning", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one check."""

    check: str
    state: State
    found: str
    remedy: str = ""


def tell(
    call: Call, findings: Sequence[Finding], *, word: str, code: str, strict: bool = False
) -> None:
    """Print findings; `word` is true in the data unless one failed, which is exit `code`.

    `strict` counts warnings as failures.
    """
    bad = ("failed", "warning") if strict else ("failed",)
    wrong = [one for one in findings if one.state in bad]
    reasons = "; ".join(f"{one.check}: {one.found}" for one in wrong)
    data = {word: not wrong, "checks": [asdict(one) for one in findings]}
    found = SecretiveError(code, reasons) if wrong else None
    call.emit(data, lambda: _lines(findings, call.width), found=found)


def _lines(findings: Sequence[Finding], width: int | None) -> Iterable[str]:
    rows = [(one.check, one.state, one.found) for one in findings]
    yield render_table(("CHECK", "STATE", "FOUND"), rows, width=width)
    for one in findings:
        if one.remedy:
            yield f"{one.check}: {show_text(one.remedy)}\n"
