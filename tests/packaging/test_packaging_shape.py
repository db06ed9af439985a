"""The shape of the tree: files, functions and folders stay small enough to be read in one go."""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_FILES_IN_A_FOLDER = 12
TALK_FILE_LINES = 300
TALK_FUNCTION_LINES = 40
MAX_LONG_FILES = 10
MAX_LONG_FUNCTIONS = 3


def tracked(pattern: str) -> list[Path]:
    """Files that belong to the project: what git knows, else what lies there (a released tree)."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", pattern],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        return [ROOT / name for name in listed if (ROOT / name).is_file()]
    return [path for path in ROOT.rglob(pattern) if ".venv" not in path.parts]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    found = tracked("*.py")
    assert len(found) > 50
    return found


def test_no_file_is_too_long(sources: list[Path]) -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in sources}
    assert {str(path): size for path, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_no_function_is_too_long(sources: list[Path]) -> None:
    long = [
        f"{path}: {name}: {size}"
        for path in sources
        for name, size in functions(path)
        if size > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_no_folder_of_the_sources_is_crowded(sources: list[Path]) -> None:
    # A package's __init__ and __main__ say what the folder is; they are not counted in it.
    counts = Counter(
        path.parent
        for path in sources
        if path.is_relative_to(ROOT / "src") and not path.name.startswith("__")
    )
    crowded = {str(path): size for path, size in counts.items() if size > MAX_FILES_IN_A_FOLDER}
    assert crowded == {}


def test_few_files_and_functions_are_long(sources: list[Path]) -> None:
    """Past 300 lines and 40 lines there should be a reason; this many have one."""
    inside = [path for path in sources if path.is_relative_to(ROOT / "src")]
    files = sum(len(path.read_text().splitlines()) > TALK_FILE_LINES for path in inside)
    bodies = sum(size > TALK_FUNCTION_LINES for path in inside for _, size in functions(path))
    assert (files <= MAX_LONG_FILES, bodies <= MAX_LONG_FUNCTIONS) == (True, True), (files, bodies)


def test_test_files_have_names_of_their_own(sources: list[Path]) -> None:
    names = Counter(path.name for path in sources if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
