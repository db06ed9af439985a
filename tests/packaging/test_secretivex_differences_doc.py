"""docs/ssh-agent-differences.md: whole rows, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ssh-agent-differences.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| (?!behaviour|-)", line)
]


def test_every_row_is_whole() -> None:
    assert len(ROWS) > 80
    for behaviour, theirs, ours, why, _ in ROWS:
        assert behaviour
        assert theirs
        assert ours
        assert why or ours.startswith(("same", "as ")) or ours != theirs, behaviour


def test_every_test_that_is_named_is_there() -> None:
    for *_, tested in ROWS:
        for path in re.findall(r"`([^`]+)`", tested):
            assert (ROOT / "tests" / path).is_file(), path
