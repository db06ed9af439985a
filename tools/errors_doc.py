"""Writes the tables of docs/errors.md from both products' error codes.

Usage: errors_doc.py [--check]; with --check nothing is written and a difference is exit 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from clikit.errors import COMMON_ROWS, ErrorRow  # noqa: E402 - the path above comes first
from fleetmdm.errors import CODES as FLEET_CODES  # noqa: E402 - same
from secretivex.errors import CODES as AGENT_CODES  # noqa: E402 - same

DOCUMENT = ROOT / "docs" / "errors.md"
COMMON = {row.code for row in COMMON_ROWS}


def render_rows(rows: Iterable[ErrorRow]) -> Iterator[str]:
    """A Markdown table of codes, sorted."""
    yield "| code | exit | meaning |"
    yield "| --- | --- | --- |"
    for row in sorted(rows, key=lambda row: row.code):
        yield f"| `{row.code}` | {int(row.exit_status)} | {row.meaning} |"


def render_tables() -> str:
    """One table for what both have, one for each product."""
    tables = {
        "Both products": COMMON_ROWS,
        "SecretiveX": [row for row in AGENT_CODES if row.code not in COMMON],
        "FleetMDM": [row for row in FLEET_CODES if row.code not in COMMON],
    }
    parts = (
        f"## {title}\n\n" + "\n".join(render_rows(rows)) + "\n" for title, rows in tables.items()
    )
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the document, or say that it is out of date."""
    text = DOCUMENT.read_text()
    wanted = re.sub(
        r"(<!-- begin codes -->\n).*(<!-- end codes -->)",
        lambda found: f"{found[1]}\n{render_tables()}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )
    if wanted == text:
        return 0
    if "--check" in arguments:
        print("docs/errors.md is out of date: run tools/errors_doc.py")
        return 1
    DOCUMENT.write_text(wanted)
    print("wrote docs/errors.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
