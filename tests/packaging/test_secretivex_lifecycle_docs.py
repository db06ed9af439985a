"""Every row of docs/lifecycle.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_names_a_test() -> None:
    rows = re.findall(r"(?m)^\| .* \| `(test_\w+)` \|$", (ROOT / "docs/lifecycle.md").read_text())
    assert len(rows) > 20
    sources = "".join(path.read_text() for path in (ROOT / "tests/peers/server").glob("test_*.py"))
    assert [name for name in rows if f"def {name}(" not in sources] == []
