"""Hints that real programs understand, and preflight on a real agent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
StandingAgent = Callable[[str], Any]


def test_ssh_reads_the_hint_for_its_configuration(
    command_line: CommandLine, require_program: Callable[[str], str], tmp_path: Path
) -> None:
    result = command_line("secretive-client", "hints", "ssh_config", "--socket", "/run/a b.sock")
    config = tmp_path / "config"
    config.write_text(result.stdout)
    told = subprocess.run(
        [require_program("ssh"), "-F", config, "-G", "somehost"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in ("identityagent /run/a b.sock", "identitiesonly yes", "controlpersist 60"):
        assert line in told


def test_preflight_judges_this_machine(
    command_line: CommandLine, standing_agent: StandingAgent, require_program: Callable[[str], str]
) -> None:
    require_program("ssh")
    target = ("--socket", standing_agent("secretive-agent").address, "--format", "json")
    result = command_line("secretive-client", "preflight", *target, "--parallel", "4")
    data = json.loads(result.stdout)["data"]
    states = {one["check"]: one["state"] for one in data["checks"]}
    assert (states["agent"], states["cores"], states["open files"]) == ("ok", "ok", "ok")
    assert (data["ready"], result.returncode) in ((True, 0), (False, 1))


def test_preflight_without_an_agent_says_so(command_line: CommandLine) -> None:
    result = command_line("secretive-client", "preflight", "--socket", "/nowhere/agent.sock")
    assert result.returncode == 1
    assert "there is no socket at /nowhere/agent.sock" in result.stdout + result.stderr
