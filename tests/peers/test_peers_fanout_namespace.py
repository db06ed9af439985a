"""Twenty hosts in a network namespace of their own, by real ssh sessions, beside `ssh-agent`.

The benchmark of a hundred hosts in a small form; what it takes is not judged here, failures are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("driver", "hosts"),
    [
        ("parallel-ssh", 20),
        pytest.param("parallel-ssh", 100, marks=pytest.mark.long),
        pytest.param("clush", 100, marks=pytest.mark.long),
        pytest.param("ansible", 100, marks=pytest.mark.long),
    ],
)
def test_every_host_is_reached_through_our_agent(
    driver: str,
    hosts: int,
    tmp_path: Path,
    require_program: Callable[[str], str],
    give_up: Callable[[str], NoReturn],
) -> None:
    for program in ("unshare", "ip", "sshd", "gcc", "parallel-ssh", "clush"):
        require_program(program)
    if os.geteuid() != 0:
        give_up("root, to make a network namespace,")
    told = tmp_path / "told.json"
    bench = [sys.executable, str(ROOT / "benchmarks" / "bench_agent_fanout.py")]
    options = ["--hosts", str(hosts), "--rounds", "1", "--drivers", driver, "--json", str(told)]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": path}
    done = subprocess.run(
        [*bench, *options], env=environ, capture_output=True, text=True, check=False, timeout=600
    )
    assert told.exists(), done.stdout + done.stderr
    figures = {row["work"].rpartition(": ")[2]: row for row in json.loads(told.read_text())["rows"]}
    assert figures["failures"]["ratio"] == 0
    assert figures["wall time"]["ratio"] > 0
