"""Every row of docs/lifecycle.md names a test that exists, and no case of the list is without a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "lifecycle.md").read_text()
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<does>[^|]+) \| `(?P<test>test_\w+)` \|$")

CASES = (
    *("SIGTERM", "SIGHUP", "SIGUSR1", "a dead socket", "a live agent's socket"),
    *("lock file", "a regular file", "read-only", "too long", "disk is full", "audit log's disk"),
    *("no descriptors", "clock jumps", "machine sleeps", "forked by the dozen", "worker is killed"),
    *("supervisor is killed", "systemd"),
)
"""What must be written about, in words of the table."""


def rows() -> list[re.Match[str]]:
    lines = PAGE.splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    found = [ROW.match(line) for line in table]
    assert [line for line, row in zip(table, found, strict=True) if row is None] == []
    return [row for row in found if row is not None]


def test_every_row_names_a_test() -> None:
    named = [row["test"] for row in rows()]
    assert len(named) > 25
    defined: set[str] = set()
    for path in (ROOT / "tests" / "peers" / "server").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                defined.add(node.name)
    assert [name for name in named if name not in defined] == []
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_row(case: str) -> None:
    assert [row for row in rows() if case in row["what"]]
