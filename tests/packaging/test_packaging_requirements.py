"""The locked requirements: complete with hashes, and silent about where packages come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").iterdir())
LOCKED = [path for path in FILES if path.suffix == ".txt"]
HOST = re.compile(r"(?i)https?:|--index-url|--extra-index|find-links|trusted-host|git\+|file:")


def requirements(path: Path) -> list[str]:
    """The requirements of a locked file, each on one line with its hashes."""
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text()).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_requirements_file_names_a_host(path: Path) -> None:
    assert HOST.findall(path.read_text()) == []


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_every_locked_requirement_is_pinned_and_hashed(path: Path) -> None:
    lines = requirements(path)
    assert lines
    loose = [
        line
        for line in lines
        if not re.match(r"[A-Za-z0-9._\[\]-]+==[^ ;]+", line)
        or not re.search(r"--hash=sha256:[0-9a-f]{64}", line)
    ]
    assert loose == []


def test_the_smaller_sets_are_part_of_the_larger() -> None:
    def pins(name: str) -> set[str]:
        lines = requirements(ROOT / "requirements" / name)
        return {re.split(r"[ ;]", line)[0] for line in lines}

    assert pins("base.txt") <= pins("all.txt") <= pins("dev.txt")


def test_no_lock_file_of_a_tool_that_records_hosts_is_kept() -> None:
    names = ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock")
    assert [name for name in names if (ROOT / name).exists()] == []
