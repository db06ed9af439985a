"""`secretive-bench` as a user runs it, on OpenSSH's agent and on ours."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
StandingAgent = Callable[[str], Any]
ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--warmup", "100ms", "--processes", "2")


def data_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(result.stdout)["data"]
    return data


@pytest.mark.parametrize("kind", ["ssh-agent", "secretive-agent"])
@pytest.mark.parametrize("mode", ["sign", "list"])
def test_a_count_of_requests_on_any_agent(
    command_line: CommandLine, standing_agent: StandingAgent, kind: str, mode: str
) -> None:
    target = ("--socket", standing_agent(kind).address, "--mode", mode)
    options = ("--clients", "8", "--count", "100", "--reconnect", "--format", "json")
    result = command_line("secretive-bench", "run", *target, *QUICK, *options)
    assert result.returncode == 0, result.stderr
    run = data_of(result)
    assert (run["ok"], run["failed"], run["mode"]) == (100, 0, mode)
    assert run["verified"] == 100
    assert run["latency_us"]["p50"] <= run["latency_us"]["p999"] <= run["latency_us"]["max"]


def test_every_kind_of_key_gives_signatures_that_verify(
    command_line: CommandLine, standing_agent: StandingAgent, key_files: dict[str, Path]
) -> None:
    address = standing_agent("secretive-agent").address
    for kind, path in key_files.items():
        keygen = ["ssh-keygen", "-l", "-f", f"{path}.pub"]
        listed = subprocess.run(keygen, capture_output=True, text=True, check=True)
        flags = ("--flags", "rsa-sha2-512") if kind == "rsa" else ()
        options = ("--key", listed.stdout.split()[1], "--count", "6", "--clients", "2", *flags)
        target = ("--socket", address, "--format", "json")
        result = command_line("secretive-bench", "run", *target, *QUICK, *options)
        assert result.returncode == 0, (kind, result.stderr)
        assert data_of(result)["verified"] == 6


def test_csv_is_one_line_a_run(command_line: CommandLine, standing_agent: StandingAgent) -> None:
    target = ("--socket", standing_agent("ssh-agent").address, "--mode", "list")
    options = ("--rate", "50", "--duration", "1s", "--format", "csv")
    result = command_line("secretive-bench", "run", *target, *QUICK, *options)
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["loop"], row["failed"]) == ("open", "0")
    assert int(row["ok"]) == pytest.approx(50, abs=2)
    assert row["machine_openssh"].startswith("OpenSSH")


def test_two_agents_are_compared_in_turn(
    command_line: CommandLine, standing_agent: StandingAgent, tmp_path: Path
) -> None:
    agents = [standing_agent(kind).address for kind in ("secretive-agent", "ssh-agent")]
    options = ("--rounds", "2", "--duration", "300ms", "--clients", "20", "--format", "json")
    plot = ("--plot", str(tmp_path / "both.svg"))
    result = command_line("secretive-bench", "compare", *agents, *QUICK, *options, *plot)
    assert result.returncode == 0, result.stderr
    data = data_of(result)
    ratio = data["ratios"]["throughput"]
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert (data["failures"], len(data["runs_a"])) == ({"a": 0, "b": 0}, 2)
    assert (tmp_path / "both.svg").read_text().startswith("<?xml")


def test_a_missed_target_is_exit_1_with_its_reason(
    command_line: CommandLine, standing_agent: StandingAgent
) -> None:
    target = ("--socket", standing_agent("ssh-agent").address, "--clients", "16")
    options = ("--gate", "smoke", "--target", "min_rps=10000000,queue_wait_p99_ms=1")
    more = ("--processes", "1", "--format", "json")
    result = command_line("secretive-bench", "slo", *target, *more, *options)
    assert result.returncode == 1
    assert json.loads(result.stdout)["error"]["code"] == "slo_missed"
    assert "min_rps >= 1e+07: measured" in result.stderr
    assert "queue_wait_p99_ms <= 1: no figure to judge by" in result.stderr


def test_the_agent_itself_tells_its_queue_wait(
    command_line: CommandLine, standing_agent: StandingAgent
) -> None:
    target = ("--socket", standing_agent("secretive-agent").address, "--clients", "16")
    options = ("--gate", "smoke", "--target", "queue_wait_p99_ms=60000", "--format", "json")
    result = command_line("secretive-bench", "slo", *target, *options)
    assert result.returncode == 0, result.stderr
    (wait,) = (one for one in data_of(result)["verdicts"] if one["target"] == "queue_wait_p99_ms")
    assert 0 < wait["measured"] < 60_000


def test_a_soak_watches_the_processes(
    command_line: CommandLine, standing_agent: StandingAgent
) -> None:
    load = ("--clients", "8", "--processes", "1", "--duration", "4s", "--format", "json")
    target = ("--socket", standing_agent("secretive-agent").address)
    signs = data_of(command_line("secretive-bench", "soak", *target, *load))["vitals"]
    assert {sign["name"] for sign in signs} == {"rss_bytes", "open_fds", "p95_ms"}
    assert len({sign["pid"] for sign in signs}) >= 4
    target = ("--socket", standing_agent("ssh-agent").address)
    blind = command_line("secretive-bench", "soak", *target, *load)
    assert (blind.returncode, "does not tell" in blind.stderr) == (5, True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("run", "--duration", "soon"), 2),
        (("run", "--duration", "1s", "--count", "1"), 2),
        (("run", "--plot", "out.gif"), 2),
        (("run", "--socket", "/nowhere/agent.sock"), 5),
        (("slo",), 2),
        (("slo", "--target", "speed=1"), 2),
        (("compare", "/a", "/a"), 2),
        (("walk",), 2),
    ],
)
def test_wrong_command_lines_are_refused(
    command_line: CommandLine,
    standing_agent: StandingAgent,
    words: tuple[str, ...],
    status: int,
) -> None:
    named = "--socket" in words or words[0] not in ("run", "slo")
    target = () if named else ("--socket", standing_agent("ssh-agent").address)
    result = command_line("secretive-bench", *words, *target)
    assert result.returncode == status, result.stderr


def test_a_terminal_sees_the_progress(standing_agent: StandingAgent) -> None:
    address = standing_agent("ssh-agent").address
    ours, theirs = pty.openpty()
    words = ["run", "--socket", address, "--mode", "list", "--duration", "1s", "--processes", "1"]
    command = [sys.executable, "-m", "secretivex.cli.bench", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, env=environ, stderr=theirs, stdout=subprocess.DEVNULL, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\r32 clients: " in shown
