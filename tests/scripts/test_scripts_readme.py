"""The README's first results work as they stand, line by line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
SET_UP = 'make setup && export PATH="$PWD/.venv/bin:$PATH"\n'


def test_the_readme_opens_with_the_two_commands() -> None:
    assert [line.split("#")[0].strip() for line in BLOCKS[0].splitlines()] == [
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("block", BLOCKS[1:], ids=["SecretiveX", "FleetMDM"])
def test_a_first_result_works_as_written(
    block: str, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    """Only two things differ: set-up is done already, and /tmp is the test's own folder."""
    require_program("ssh-keygen")
    assert block.startswith(SET_UP)
    assert len(block.splitlines()) <= 11
    script = block.removeprefix(SET_UP).replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT / "src"),
            "LANG": "C.UTF-8",
        },
    )
    assert done.returncode == 0, done.stderr
    assert "SHA256" in done.stdout
