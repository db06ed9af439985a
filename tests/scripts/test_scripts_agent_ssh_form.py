"""`secretive-agent` in the place of `ssh-agent`: what scripts see of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
PATIENCE_S = 10.0


@pytest.fixture
def variables(command_line: CommandLine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a shell knows after `eval $(secretive-agent -s)`; the agent is ended afterwards."""
    result = command_line("secretive-agent", "-s", env={"TMPDIR": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    found = dict(re.findall(r"^(\w+)=(\S+); export \1;$", result.stdout, re.MULTILINE))
    yield found
    with suppress(ProcessLookupError):
        os.kill(int(found["SSH_AGENT_PID"]), signal.SIGTERM)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answers(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"\0\0\0\1\x0b")
        return client.recv(9) == b"\0\0\0\5\x0c\0\0\0\0"
    return False


def test_it_serves_in_the_background_once_its_lines_are_printed(
    variables: dict[str, str], tmp_path: Path
) -> None:
    path = Path(variables["SSH_AUTH_SOCK"])
    assert path.parent.parent == tmp_path
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert answers(str(path))


def test_kill_ends_the_named_agent_and_prints_how_to_forget_it(
    command_line: CommandLine, variables: dict[str, str]
) -> None:
    result = command_line("secretive-agent", "-k", env=variables)
    pid = variables["SSH_AGENT_PID"]
    expected = f"unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid {pid} killed;\n"
    assert (result.returncode, result.stdout) == (0, expected)
    folder = Path(variables["SSH_AUTH_SOCK"]).parent
    wait_until(lambda: not folder.exists())


@pytest.mark.parametrize("pid", ["", "x", "1", "-5", "99999999999999999999"])
def test_kill_needs_the_number_of_a_process(command_line: CommandLine, pid: str) -> None:
    result = command_line("secretive-agent", "-k", env={"SSH_AGENT_PID": pid})
    assert result.returncode == 5
    assert "SSH_AGENT_PID" in result.stderr
    assert result.stdout == ""


def test_a_command_takes_the_callers_place_and_the_agent_ends_with_it(
    command_line: CommandLine, tmp_path: Path
) -> None:
    script = 'test -S "$SSH_AUTH_SOCK" && kill -0 "$SSH_AGENT_PID" && echo "$SSH_AUTH_SOCK"; exit 7'
    result = command_line("secretive-agent", "sh", "-c", script, env={"TMPDIR": str(tmp_path)})
    assert result.returncode == 7
    path = Path(result.stdout.strip())
    wait_until(lambda: not path.parent.exists())


def test_a_command_that_cannot_run_leaves_no_agent(
    command_line: CommandLine, tmp_path: Path
) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    result = command_line("secretive-agent", "--", "/nonexistent/command", env=environ)
    assert result.returncode == 5
    assert "/nonexistent/command" in result.stderr
    wait_until(lambda: not list(tmp_path.glob("ssh-*")))


def test_what_fails_in_the_background_is_the_callers_failure(
    command_line: CommandLine, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    result = command_line("secretive-agent", "-s", "-a", taken)
    assert (result.returncode, result.stdout) == (5, "")
    assert "not a socket" in result.stderr
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("flags", [["-c"], ["-s"], ["-D"], ["-d"], ["-k"]])
def test_a_command_goes_with_no_flag_that_says_how_to_run(
    command_line: CommandLine, flags: list[str]
) -> None:
    assert command_line("secretive-agent", *flags, "true").returncode == 2


def test_c_shells_are_guessed_from_shell_as_openssh_does(
    command_line: CommandLine, tmp_path: Path
) -> None:
    environ = {"TMPDIR": str(tmp_path), "SHELL": "/bin/tcsh"}
    result = command_line("secretive-agent", env=environ)
    assert result.returncode == 0
    match = re.search(r"^setenv SSH_AGENT_PID (\d+);$", result.stdout, re.MULTILINE)
    assert match
    killed = command_line("secretive-agent", "-k", env={**environ, "SSH_AGENT_PID": match[1]})
    assert killed.stdout.startswith("unsetenv SSH_AUTH_SOCK;\nunsetenv SSH_AGENT_PID;\n")


def test_prompts_show_the_fingerprint_that_was_asked_for(
    command_line: CommandLine, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    shown, key = tmp_path / "shown", tmp_path / "key"
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {shown}\n')
    askpass.chmod(0o755)
    keygen = require_program("ssh-keygen")
    make = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True, timeout=60)
    use = f"ssh-add -q -c {key} && ssh-add -T {key}.pub"
    environ = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "TMPDIR": str(tmp_path)}
    result = command_line("secretive-agent", "-E", "md5", "sh", "-c", use, env=environ)
    assert result.returncode == 0, result.stderr
    listed = [keygen, "-l", "-E", "md5", "-f", f"{key}.pub"]
    printed = subprocess.run(listed, check=True, capture_output=True, text=True, timeout=60).stdout
    assert shown.read_text().splitlines()[1] == f"Fingerprint: {printed.split()[1]}"
