"""Hints that real programs understand, and preflight on a real agent."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


ODD_PLACES = ["/run/a b.sock", "/run/it's", '/run/q"x', "/run/100%d", "/run/b\\x", "/run/#x"]


@pytest.mark.parametrize("socket", ODD_PLACES)
@pytest.mark.parametrize("tool", ["ssh_config", "pssh", "ansible"])
def test_ssh_asks_the_agent_of_the_hint_wherever_its_socket_is(
    command_line: CommandLine,
    require_program: Callable[[str], str],
    tmp_path: Path,
    tool: str,
    socket: str,
) -> None:
    text = command_line("secretive-client", "hints", tool, "--socket", socket).stdout
    config = tmp_path / "config"
    if tool == "ssh_config":
        config.write_text(text)
        options = []
    else:
        config.write_text("")
        line = next(line for line in text.splitlines() if "IdentityAgent=" in line)
        words = shlex.split(line) if tool == "pssh" else shlex.split(line.partition("=")[2])
        options = shlex.split(words[words.index("-x") + 1]) if tool == "pssh" else words
    told = subprocess.run(
        [require_program("ssh"), "-F", config, *options, "-G", "somehost"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"identityagent {socket}\n" in told


def test_a_socket_named_by_a_relative_path_is_pasted_with_its_whole_path(
    command_line: CommandLine, tmp_path: Path
) -> None:
    result = command_line("secretive-client", "hints", "shell", "--socket", "a.sock")
    assert f"SSH_AUTH_SOCK={tmp_path / 'a.sock'}" in result.stdout


def test_a_socket_is_the_same_by_whatever_name_ssh_asks_it(
    command_line: CommandLine,
    standing_agent: StandingAgent,
    require_program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    require_program("ssh")
    socket = Path(standing_agent("secretive-agent").address)
    folder = tmp_path / "link"
    folder.symlink_to(socket.parent)
    env = {"SSH_AUTH_SOCK": str(folder / socket.name)}
    result = command_line(
        "secretive-client", "preflight", "--socket", socket, "--format", "json", env=env
    )
    checks = {one["check"]: one for one in json.loads(result.stdout)["data"]["checks"]}
    assert checks["IdentityAgent"]["state"] == "ok"


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
