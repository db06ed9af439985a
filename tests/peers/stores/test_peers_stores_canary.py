"""Planted secrets through every way in which a store fails: they turn up nowhere but in memory.

Logs, arguments, environments of children, outputs and files are searched while the agent runs, and core
files after it was made to crash. What stays in memory after a key was removed is counted, and published.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PIN = "Kanarienvogel-7316"
PASSPHRASE = "Zaunkoenig-4402"
Wait = Callable[[Callable[[], object], str], None]


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family_of(int(child)))]


def everything_said(agent: Any, folder: Path) -> dict[str, bytes]:
    """Whatever others can see of the agent, by where it stands."""
    said = {"log": agent.log.read_bytes()}
    for pid in family_of(agent.process.pid):
        said[f"arguments of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
        if pid != agent.process.pid:
            said[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    for path in folder.rglob("core*"):
        said[str(path)] = path.read_bytes()
    return said


def inherits(pid: int, parent: int) -> bool:
    """Whether a process was forked from the agent without a program of its own."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() == Path(f"/proc/{parent}/cmdline").read_bytes()


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
    parent = agent.process.pid
    said = everything_said(agent, tmp_path)
    # The variable stands in the environment that the person gave the agent; forks share it.
    forked = {f"environment of {pid}" for pid in family_of(parent) if inherits(pid, parent)}
    hits = [
        (kind, where)
        for kind, secret in SECRETS.items()
        for where, text in said.items()
        if secret in text and where not in forked
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


COUNT = """
import ctypes, gc, os, re, sys
from sshwire.privkey import PrivateKey, encode_private_fields, parse_private_fields
from sshwire.wire import Reader
from secretivex.stores.memory import MemoryStore

def hits(secret):
    found = 0
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb') as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if 'r' in mode and 'w' in mode and '[v' not in line:
                start, end = (int(part, 16) for part in span.split('-'))
                try:
                    memory.seek(start)
                    found += memory.read(end - start).count(secret)
                except (OSError, ValueError, OverflowError):
                    pass
    return found

path, kind = sys.argv[1:]

def number(key):
    secret = key.secret
    if kind == 'ed25519':
        return secret.private_bytes_raw()
    numbers = secret.private_numbers()
    value = numbers.private_value if kind == 'ecdsa' else numbers.p
    return value.to_bytes((value.bit_length() + 7) // 8, 'big')

def load():
    from sshwire.privkey import parse_private_key
    with open(path, 'rb') as file:
        return parse_private_key(file.read(), passphrase=b'Zaunkoenig-4402')

store = MemoryStore()
key = load()
store.add(key)
public = key.public.blob
held = number(key)
masked = bytes(byte ^ 0x5A for byte in held)
found = hits(held) - 1 + hits(held[::-1])
del key, held
store.remove(public)
gc.collect()
secret = bytes(byte ^ 0x5A for byte in masked)
turned = secret[::-1]
print(found, hits(secret) - 1 + hits(turned) - 1)
"""


LEFT = {"ed25519": 2, "ecdsa": 5, "rsa": 2}
"""Copies of a secret number, in either order of its bytes, that docs/key-stores.md admits to."""


@pytest.mark.parametrize("kind", LEFT)
def test_what_stays_in_memory_is_counted_and_does_not_grow(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", PASSPHRASE, "-a", "1", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    result = subprocess.run(
        [sys.executable, "-c", COUNT, str(path), kind],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    held, left = map(int, result.stdout.split())
    assert held >= 1, "the count finds nothing at all"
    assert left <= LEFT[kind]
