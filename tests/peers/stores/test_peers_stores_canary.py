"""Planted secrets through every way in which a store fails: they turn up nowhere but in memory.

Logs, arguments, environments of children, outputs and files are searched while the agent runs, and every
process is made to crash where cores are written. Memory itself is counted elsewhere.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PIN = "Kanarienvogel-7316"
PASSPHRASE = "Zaunkoenig-4402"
Wait = Callable[[Callable[[], object], str], None]


def everything_said(agent: Any, folder: Path) -> dict[str, bytes]:
    """Whatever others can see of the agent, by where it stands."""
    said = {"log": agent.log.read_bytes()}
    own = Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
    for pid in agent.family():
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ended meanwhile
            # The variable stands in the environment that the person gave the agent; what is forked
            # from it without a program of its own, or has yet to begin that, shares it.
            arguments = said[f"arguments of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
            if arguments != own:
                said[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    for path in folder.rglob("core*"):
        said[str(path)] = path.read_bytes()
    return said


SECRETS = {"pin": PIN.encode(), "passphrase": PASSPHRASE.encode()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees environments of hardened processes")
@pytest.mark.parametrize("is_right", [True, False])
def test_planted_secrets_turn_up_nowhere(
    start_agent: Any, shimmed: Any, tmp_path: Path, is_right: bool, wait: Wait
) -> None:
    shimmed.pin = PIN if is_right else shimmed.pin
    if is_right:
        shimmed.run(shimmed.util, "--delete-token", "--token", shimmed.label)
        shimmed.initialize()
    shimmed.make("EC:prime256v1", "token", "01")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name, phrase in (("plain", ""), ("closed", PASSPHRASE), ("other", "another one")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-C", name, "-a", "1"]
        subprocess.run([*command, "-f", str(keys / name)], check=True, timeout=60)
    command_file = tmp_path / "pin.sh"
    command_file.write_text(f"#!/bin/sh\necho {PASSPHRASE}\necho noise {PASSPHRASE} >&2\n")
    command_file.chmod(0o700)
    config = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{keys}"]\n'
        f'passphrase_command = ["{command_file}"]\n'
        f'[[stores]]\ntype = "pkcs11"\nmodule_path = "{shimmed.loaded}"\n'
        f'token_label = "{shimmed.label}"\npin_env = "CANARY_PIN"\n'
    )
    environ = {**shimmed.environ, "CANARY_PIN": PIN}
    agent = start_agent(config, environ, "--workers", "2", "--log-level", "debug")
    expected = {"plain", "closed", "token"} if is_right else {"plain", "closed"}
    wait(lambda: {one.comment for one in agent.identities()} == expected, "not all keys are there")
    if is_right:
        (tmp_path / "orders").write_text("crash")
        agent.sign(agent.find("token"))
    (keys / "broken").write_bytes((keys / "closed").read_bytes()[:200])
    (keys / "broken").chmod(0o600)
    agent.process.send_signal(signal.SIGHUP)
    wait(lambda: "broken" in agent.log.read_text(), "the broken file was not reported")
    said = everything_said(agent, tmp_path)
    assert any(where.startswith("environment") for where in said)
    hits = [
        (kind, where)
        for kind, secret in SECRETS.items()
        for where, text in said.items()
        if secret in text
    ]
    assert hits == []
    secret_part = private_part(keys / "plain")
    assert not [where for where, text in said.items() if secret_part in text]
    shown = agent.client("doctor", "--config", str(agent.config), "--debug")
    exported = agent.client(
        "keys", "export-public", "--store", "file", "--config", str(agent.config)
    )
    for result in (shown, exported):
        for secret in (PIN, PASSPHRASE):
            assert secret not in result.stdout + result.stderr


def private_part(path: Path) -> bytes:
    """32 bytes of the key that nobody but its owner has."""
    text = b"".join(path.read_bytes().splitlines()[1:-1])
    return base64.b64decode(text)[-96:-64]


MARK = "Goldammer-" + "2209"
CONTROL = """
import os, resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
planted = b"Goldammer-" + str(2000 + 209).encode()
os.abort()
"""


def test_a_forced_crash_of_any_process_leaves_no_core(
    start_agent: Any, make_token: Any, tmp_path: Path, wait: Wait
) -> None:
    """Of a program that forbids nothing there is one here, and its secret is found in it."""
    control = tmp_path / "control"
    control.mkdir()
    if not dumps_core([sys.executable, "-c", CONTROL], control):
        pytest.skip("this machine writes no cores (kernel.core_pattern, ulimit -c)")
    written = tuple(control.rglob("core*"))
    if written:  # else a program of the system's took it
        assert any(MARK.encode() in path.read_bytes() for path in written)
    token = make_token()
    token.make("EC:prime256v1", "token", "01")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "file"]
    subprocess.run([*command, "-f", str(keys / "file")], check=True, timeout=60)
    config = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{keys}"]\n'
        f'[[stores]]\ntype = "pkcs11"\nmodule_path = "{token.module}"\n'
        f'token_label = "{token.label}"\npin_env = "CANARY_PIN"\n'
    )
    agent = start_agent(config, {**token.environ, "CANARY_PIN": token.pin}, "--workers", "2")
    wait(lambda: len(agent.identities()) == 2, "the token's key is not listed")
    own = agent.process.pid
    crashed = {pid: kind for pid, kind in agent.family().items() if pid != own}
    assert {"agent", "store", "helper"} <= set(crashed.values())
    for number in (signal.SIGSEGV, signal.SIGABRT):
        for pid in [pid for pid in agent.family() if pid != own]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    wait(lambda: not any(map(is_alive, crashed)), "not all of them crashed")
    os.kill(own, signal.SIGABRT)
    _, status = os.waitpid(own, 0)
    agent.process.returncode = os.waitstatus_to_exitcode(status)
    assert (os.WIFSIGNALED(status), os.WCOREDUMP(status)) == (True, False)
    cores = [path for path in tmp_path.rglob("core*") if control not in path.parents]
    assert cores == []


def dumps_core(command: list[str], folder: Path) -> bool:
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return os.WCOREDUMP(status)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
