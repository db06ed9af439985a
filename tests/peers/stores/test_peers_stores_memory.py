"""What stays in memory after a secret was given up: counted by kind, published, and not to grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PASSPHRASE = "Zaunkoenig-4402"

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
