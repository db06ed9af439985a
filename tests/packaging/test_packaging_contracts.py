"""Who may import whom: import-linter's contracts, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
(PURE,) = (row["source_modules"] for row in CONTRACTS if row["id"] == "pure")
CLOCKS = {"now", "utcnow", "today"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"


def sources(*modules: str) -> list[Path]:
    """The files of modules and of whole packages."""
    places = [ROOT / "src" / module.replace(".", "/") for module in modules]
    files = [place.with_suffix(".py") for place in places if place.with_suffix(".py").is_file()]
    return files + [file for place in places for file in place.rglob("*.py")]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", sources("fleetmdm.exporters"), ids=name_of)
def test_an_exporter_needs_nothing_but_the_standard_library(path: Path) -> None:
    # Its own pieces are joined into the one file that runs on a target.
    foreign = [name for name in imported(path) if not name.startswith("fleetmdm.exporters.")]
    assert {name.partition(".")[0] for name in foreign} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sources(*PURE), ids=name_of)
def test_a_pure_module_never_reads_a_clock(path: Path) -> None:
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in CLOCKS
        and isinstance(node.value, ast.Name)
        and node.value.id in {"datetime", "date"}
    ]
    assert calls == []


def test_only_the_command_lines_read_the_environment() -> None:
    readers = [
        name_of(path)
        for path in sources("sshwire", "agentclient", "secretivex", "fleetmdm")
        if not {"cli", "exporters"} & set(path.parts) and reads_environment(path)
    ]
    assert readers == []


def reads_environment(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(path.read_text()))
    )
