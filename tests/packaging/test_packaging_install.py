"""The wheel, alone with its own requirements, over the system's Python: what ships can start.

A run-time dependency that only a development environment has would be missed by every other test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("secretive-agent", "secretive-client", "fleetmdm")


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the locked hatchling, without asking an index for anything."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Path:
    """The programs' folder of an environment that holds the wheel and its base requirements."""
    folder = tmp_path_factory.mktemp("installed")
    require_program("/usr/bin/python3")
    run("/usr/bin/python3", "-m", "venv", "--without-pip", folder)
    uv = Path(sys.executable).parent / "uv"
    install = (uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python")
    run(*install, "--require-hashes", "-r", ROOT / "requirements" / "base.txt")
    run(*install, "--no-deps", wheel)
    return folder / "bin"


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_starts_with_the_base_requirements_alone(
    installed: Path, program: str, tmp_path: Path
) -> None:
    result = run(installed / program, "--version", cwd=tmp_path)
    assert version("secretivex-fleetmdm") in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_explains_itself_with_the_base_requirements_alone(
    installed: Path, program: str, tmp_path: Path
) -> None:
    assert "Usage:" in run(installed / program, "--help", cwd=tmp_path).stdout


def test_the_agents_configuration_is_checked_with_the_base_requirements_alone(
    installed: Path, tmp_path: Path
) -> None:
    sample = ROOT / "packaging" / "agent.toml"
    result = run(installed / "secretive-agent", "check-config", "--config", sample, cwd=tmp_path)
    assert result.stdout.startswith("configuration is valid: ")


def test_the_wheel_holds_the_packages_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.partition("/")[0] for name in names}
    packages = {"sshwire", "agentclient", "clikit", "secretivex", "fleetmdm"}
    assert {root for root in roots if not root.endswith(".dist-info")} == packages
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert [name for name in names if "__pycache__" in name] == []


def test_the_wheel_holds_every_file_of_the_sources(wheel: Path) -> None:
    src = ROOT / "src"
    wanted = {
        str(path.relative_to(src))
        for path in src.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    }
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()
