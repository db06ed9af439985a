"""What every test may ask for: real programs, real inputs, the command lines as a user runs them.

A missing component fails under CI and skips, with its name, elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str) -> NoReturn:
    """End a test whose component is not there: a failure under CI, else a skip that says why."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed here")


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """Path of a real program, looked for on PATH and in the administrator's folders."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        return path or missing(name)

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs that nobody on this project wrote; its SOURCES.md names them."""
    folder = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"the folder of real inputs {folder} (set SHARED_DATA)")
    return folder


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

_MODULES = {
    "fleetmdm": "fleetmdm",
    "secretive-agent": "secretivex.cli.agent",
    "secretive-client": "secretivex.cli.client",
}


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """Run one of our programs as a user would: `command_line("fleetmdm", "report", ...)`.

    Home and configuration are the test's own; nothing of the caller's environment leaks in.
    """
    home = tmp_path / "home"
    home.mkdir()

    def run(
        program: str, *arguments: str | Path, env: dict[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", _MODULES[program], *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(home),
                "LANG": "C.UTF-8",
                **(env or {}),
            },
        )

    return run
