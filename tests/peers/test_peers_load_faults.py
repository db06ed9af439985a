"""Faults under load, in the small: one round of the benchmark that has the table of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUSY = 5
"""How many times longer than its target a recovery may take on a machine that is busy with tests."""


@pytest.mark.parametrize(
    "fault",
    [
        "kill -9 a worker",
        "SIGHUP",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("key file", "lock", "disk full, going", "disk full, refusing", "descrip")
        ),
        pytest.param("clock", marks=pytest.mark.long),
    ],
)
def test_a_fault_under_load_passes_and_little_fails(
    fault: str, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    require_program("gcc")
    told = tmp_path / "told.json"
    bench = [sys.executable, str(ROOT / "benchmarks" / "bench_agent_faults.py")]
    done = subprocess.run(
        [*bench, "--rounds", "1", "--only", fault, "--json", str(told)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.exists(), done.stdout + done.stderr
    for row in json.loads(told.read_text())["rows"]:
        if row["unit"] == "ms":
            assert row["ratio"] < 1000 * BUSY, row["work"]
        elif row["is_measured"]:
            assert row["met"] is not False, row["work"]
