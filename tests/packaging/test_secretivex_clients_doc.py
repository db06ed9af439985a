"""docs/clients.md: each family of client tests stands in the matrix, with the version it ran."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
MATRIX, _, SUITES = PAGE.partition("\n## Tests that others wrote")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in MATRIX.splitlines()
    if re.match(r"\| (?!program|-)", line)
]
FAMILIES = {path.name for path in ROOT.glob("tests/peers/clients/test_*.py")}
PINS = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements/dev.txt").read_text()))


def test_every_family_stands_in_the_matrix_and_no_other_does() -> None:
    suites = set(re.findall(r"`(test_\w+\.py)`", SUITES))
    assert {file.strip("`") for _, _, _, file in ROWS} | suites == FAMILIES


def test_no_cell_is_empty() -> None:
    assert all(cell for row in ROWS for cell in row)


@pytest.mark.parametrize("package", ["ansible-core", "asyncssh", "paramiko", "ssh2-python"])
def test_a_locked_client_stands_with_its_version(package: str) -> None:
    told = [f"{program} {version}" for program, version, _, _ in ROWS]
    assert [row for row in told if re.search(rf"{package} {re.escape(PINS[package])}$", row)]
