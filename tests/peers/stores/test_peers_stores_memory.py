"""What stays in memory after a secret was given up: counted by kind, published, and not to grow.

The limits are those of the table in SECURITY.md. One count is of a process that loads and drops a key, the
other of all processes of an agent that does what agents do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import ask, control_path
from sshwire.privkey import parse_private_key

ROOT = Path(__file__).resolve().parents[3]
PASSPHRASE = "Zaunkoenig-4402"
PIN = "Kernbeisser-8850"
CLIENT_KEYS = ("ed25519", "ecdsa", "rsa")
Wait = Callable[[Callable[[], object], str], None]


def published() -> dict[str, tuple[int, ...]]:
    """By kind of secret, the limits: in one process (-1 for none), with one worker, with two."""
    text = (ROOT / "SECURITY.md").read_text()
    cell = r"(?:\d+ \((\d+)\)|none) \|"
    row = rf"^\| `([a-z0-9 ]+)` \|[^|]*\| {cell} {cell} {cell}$"
    return {
        name: tuple(int(limit) if limit else -1 for limit in limits)
        for name, *limits in re.findall(row, text, re.MULTILINE)
    }


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


@pytest.mark.parametrize("kind", CLIENT_KEYS)
def test_what_one_process_keeps_of_a_key_is_no_more_than_published(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", PASSPHRASE, "-a", "1", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    result = subprocess.run(
        [sys.executable, "-c", COUNT, str(path), kind],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    held, left = map(int, result.stdout.split())
    record_property(f"one {kind}", left)
    assert held >= 1, "the count finds nothing at all"
    assert left <= published()[kind][0]


def copies(pid: int, secrets: Mapping[str, bytes]) -> dict[str, int]:
    """How often each secret, in either order of its bytes, stands in a process's memory."""
    found = dict.fromkeys(secrets, 0)
    try:
        with (
            Path(f"/proc/{pid}/maps").open() as maps,
            Path(f"/proc/{pid}/mem").open("rb") as memory,
        ):
            for line in maps:
                span, mode = line.split()[:2]
                if not mode.startswith("rw") or "[v" in line:
                    continue
                start, end = (int(part, 16) for part in span.split("-"))
                try:
                    memory.seek(start)
                    data = memory.read(end - start)
                except (OSError, OverflowError):
                    continue
                for name, secret in secrets.items():
                    found[name] += data.count(secret) + data.count(secret[::-1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def copies_of_all(agent: Any, secrets: Mapping[str, bytes]) -> dict[str, int]:
    counts = [copies(pid, secrets) for pid in agent.family()]
    return {name: sum(count[name] for count in counts) for name in secrets}


def secret_number(path: Path, passphrase: bytes | None = None) -> bytes:
    """The bytes that nobody but the owner has: a seed, a scalar, a prime."""
    secret: Any = parse_private_key(path.read_bytes(), passphrase=passphrase).secret
    if hasattr(secret, "private_bytes_raw"):
        return bytes(secret.private_bytes_raw())
    numbers = secret.private_numbers()
    value: int = getattr(numbers, "private_value", 0) or numbers.p
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def make_secrets(folder: Path) -> dict[str, bytes]:
    """Key files of clients beside `keys`, which holds the stores'."""
    secrets = {}
    for kind in CLIENT_KEYS:
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f", str(folder / kind)]
        subprocess.run(command, check=True, timeout=60)
        secrets[kind] = secret_number(folder / kind)
    (folder / "keys").mkdir(mode=0o700)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSPHRASE, "-a", "1", "-C", "filed"]
    subprocess.run([*command, "-f", str(folder / "keys" / "filed")], check=True, timeout=60)
    secrets["key file"] = secret_number(folder / "keys" / "filed", PASSPHRASE.encode())
    (folder / "ask").write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    (folder / "ask").chmod(0o700)
    (folder / "pin").write_text(PIN)
    (folder / "pin").chmod(0o600)
    return {**secrets, "passphrase": PASSPHRASE.encode(), "pin": PIN.encode()}


def tables(folder: Path, token: Any) -> str:
    return (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{folder}/keys"]\n'
        f'passphrase_command = ["{folder}/ask"]\n'
        f'[[stores]]\ntype = "pkcs11"\nmodule_path = "{token.module}"\n'
        f'token_label = "{token.label}"\npin_file = "{folder}/pin"\n'
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of hardened processes")
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_what_an_agent_keeps_of_each_secret_is_no_more_than_published(
    start_agent: Any,
    make_token: Any,
    tmp_path: Path,
    workers: int,
    wait: Wait,
    record_property: Callable[[str, object], None],
) -> None:
    token = make_token()
    token.run(token.util, "--delete-token", "--token", token.label)
    token.pin = PIN
    token.initialize()
    token.make("EC:prime256v1", "token", "01")
    secrets = make_secrets(tmp_path)
    agent = start_agent(tables(tmp_path, token), token.environ, "--workers", str(workers))
    environ = {**os.environ, "SSH_AUTH_SOCK": agent.address}
    for kind in CLIENT_KEYS:
        command = ["ssh-add", "-q", str(tmp_path / kind)]
        subprocess.run(command, env=environ, check=True, timeout=60, capture_output=True)
    wait(lambda: len(agent.identities()) == 5, "not every key is listed")
    for turn in range(10):
        with AgentClient(agent.address, timeout_s=60) as client:
            for one in client.identities():
                client.sign(one.blob, f"{turn}".encode(), 0)
    held = copies_of_all(agent, secrets)
    assert all(held.values()), f"the count does not find what is in use: {held}"
    for kind in CLIENT_KEYS:
        command = ["ssh-add", "-q", "-d", str(tmp_path / f"{kind}.pub")]
        subprocess.run(command, env=environ, check=True, timeout=60, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    agent.config.write_text(
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{empty}"]\n'
    )
    # Answered when every worker knows of it; each of them has let go of the keys then.
    ask(control_path(Path(agent.address)), "reload", timeout_s=60)
    wait(lambda: agent.identities() == [], "keys are left")
    wait(lambda: "helper" not in agent.family().values(), "a helper is left")
    for _ in range(20):
        agent.identities()
    left = copies_of_all(agent, secrets)
    for name in secrets:
        record_property(f"{workers} {name}", f"{held[name]} {left[name]}")
    limits = {name: published()[name][workers] for name in secrets}
    assert {name: n for name, n in left.items() if n > limits[name]} == {}, (held, left)
