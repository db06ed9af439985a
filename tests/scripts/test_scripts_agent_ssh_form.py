"""`secretive-agent` in the place of `ssh-agent`: what scripts see of it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def variables(command_line: CommandLine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a shell knows after `eval $(secretive-agent -s)`; the agent is ended afterwards."""
    result = command_line("secretive-agent", "-s", env={"TMPDIR": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    found = dict(re.findall(r"^(\w+)=(\S+); export \1;$", result.stdout, re.MULTILINE))
    yield found
    # Not where the test has ended it: its number may be another's by now.
    if Path(found["SSH_AUTH_SOCK"]).exists():
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


def test_a_pipe_that_the_caller_had_open_ends_with_the_caller(
    command_line: CommandLine, tmp_path: Path
) -> None:
    """An agent that kept it would keep whoever reads it waiting; ssh-agent does."""
    reading, writing = os.pipe()
    try:
        os.set_inheritable(writing, True)
        command = [sys.executable, "-m", "secretivex.cli.agent", "-s"]
        environ = {
            "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(tmp_path),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            command,
            env=environ,
            pass_fds=[writing],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        os.close(writing)
        assert select.select([reading], [], [], PATIENCE_S)[0], "the pipe is still open"
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)
        os.kill(int(done.stdout.split()[-1].strip(";")), signal.SIGTERM)


def test_a_command_is_not_left_deaf_to_broken_pipes(
    command_line: CommandLine, tmp_path: Path
) -> None:
    script = "trap '' INT; yes | head -n 1; kill -PIPE $$; echo survived"
    result = command_line("secretive-agent", "sh", "-c", script, env={"TMPDIR": str(tmp_path)})
    assert (result.returncode, result.stdout) == (-signal.SIGPIPE, "y\n")


def test_where_the_system_does_not_tell_the_agent_looks_whether_its_command_runs(
    tmp_path: Path,
) -> None:
    """As it does on macOS and the BSDs."""
    code = (
        "import os, signal, sys, time\n"
        "from secretivex.cli.ssh_form import background\n"
        "background.PARENT_CHECK_S = 0.1\n"
        "parent = os.getpid()\n"
        "reading, writing = os.pipe()\n"
        "if os.fork(): os.read(reading, 1); os._exit(0)\n"
        "background.end_with(parent, platform='darwin')\n"
        "time.sleep(0.3); print('waits', flush=True); os.write(writing, b'.')\n"
        "time.sleep(60); print('stays')\n"
    )
    environ = {"PYTHONPATH": str(ROOT / "src")}
    # The pipe of stdout ends when the child has ended, too.
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, timeout=120, check=False
    )
    assert done.stdout == b"waits\n"


@pytest.mark.parametrize(
    "option", ["allow-remote-pkcs11", "nope", "query-reply=x", "websafe-allow="]
)
def test_an_option_that_is_not_served_is_refused(command_line: CommandLine, option: str) -> None:
    result = command_line("secretive-agent", "-O", option)
    assert (result.returncode, result.stdout) == (2, "")
    assert option in result.stderr


def test_flags_of_newer_agents_are_taken(command_line: CommandLine, tmp_path: Path) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    flags = ("-T", "-U", "-O", "query-reply=draft", "-O", "websafe-allow=ssh:*,https://a.example")
    result = command_line("secretive-agent", *flags, "ssh-add", "-l", env=environ)
    assert (result.returncode, result.stdout) == (1, "The agent has no identities.\n")


def test_a_relative_address_is_printed_whole_and_removed_at_the_end(
    command_line: CommandLine, tmp_path: Path
) -> None:
    said = command_line("secretive-agent", "-s", "-a", "a place").stdout
    path = tmp_path / "a place"
    assert said.startswith(f"SSH_AUTH_SOCK='{path}'; export SSH_AUTH_SOCK;\n")
    assert path.is_socket()
    pid = re.findall(r"\d+", said)[-1]
    assert command_line("secretive-agent", "-k", env={"SSH_AGENT_PID": pid}).returncode == 0
    wait_until(lambda: not path.exists())


@pytest.mark.parametrize("flags", [["-a", ""], ["-u"], ["-uu"], ["-E", "sha1"], ["-E", "sha384"]])
def test_what_is_not_served_makes_no_agent(command_line: CommandLine, flags: list[str]) -> None:
    result = command_line("secretive-agent", *flags, "-s")
    assert (result.returncode, result.stdout) == (2 if flags[0] != "-a" else 5, "")


def test_a_command_with_the_name_of_one_of_ours_runs_after_two_dashes(
    command_line: CommandLine, tmp_path: Path
) -> None:
    program = tmp_path / "run"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    result = command_line("secretive-agent", "-E", "sha512", "--", "run", env=environ)
    assert (result.returncode, result.stdout) == (0, "mine\n")


def test_a_named_configuration_brings_stores_a_policy_and_a_control_socket(
    command_line: CommandLine, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    subprocess.run(
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "named", "-f", str(key)),
        check=True,
        timeout=60,
    )
    config = tmp_path / "agent.toml"
    store = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key}"]\n'
    config.write_text(f'fingerprint_hash = "sha512"\n{store}')
    address = tmp_path / "agent.sock"
    started = command_line("secretive-agent", "-s", "-a", str(address), "--config", str(config))
    assert started.returncode == 0, started.stderr
    (pid,) = re.findall(r"SSH_AGENT_PID=(\d+)", started.stdout)
    environ = {"SSH_AUTH_SOCK": str(address), "SECRETIVE_SOCK": str(address)}
    control = tmp_path / "agent.sock.ctl"
    try:
        wait_until(control.exists)
        assert "named" in command_line("secretive-client", "list", env=environ).stdout
        config.write_text(f'{store}[policy]\ndeny_comments = ["named"]\n')
        assert command_line("secretive-agent", "reload", env=environ).returncode == 0
        told = command_line("secretive-client", "health", env=environ)
        assert "policy_rules: 1" in told.stdout
        command = ("ssh-add", "-T", f"{key}.pub")
        refused = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, timeout=60, check=False
        )
        assert refused.returncode != 0
    finally:
        os.kill(int(pid), signal.SIGTERM)
    wait_until(lambda: not address.exists() and not control.exists())


def test_a_bad_configuration_is_told_before_anything_is_printed(
    command_line: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("no_such_key = 1\n")
    result = command_line("secretive-agent", "-s", "--config", str(config))
    assert (result.returncode, result.stdout) == (3, "")
    assert "no_such_key" in result.stderr
    missing = command_line("secretive-agent", "-s", "--config", str(tmp_path / "none.toml"))
    assert missing.returncode == 4
