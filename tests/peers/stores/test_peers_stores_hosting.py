"""Processes of stores: one that ends is started again, with longer and longer pauses, and keys stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secretivex.stores.hosting.hosted import FIRST_RETRY_S, LAST_RETRY_S, HostedStore, HostSpec
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

ROOT = Path(__file__).resolve().parents[3]
Wait = Callable[[Callable[[], object], str], None]


def file_settings(folder: Path) -> dict[str, Any]:
    return {
        "paths": [str(folder)],
        "key_types": [],
        "passphrase": {},
        "certificates": [],
        "watch": True,
        "debounce_ms": 50,
    }


def test_a_process_that_cannot_live_is_started_ever_less_often(wait: Wait) -> None:
    """By a clock of the test's own: no pause is waited for."""
    now = [1000.0]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": "/nonexistent"}
    store = HostedStore(HostSpec("file", "file", {}, environ, {}), clock=lambda: now[0])
    pauses = []
    try:
        for _ in range(9):
            store.advance()
            wait(lambda: store.advance() or store.due is not None, "its end is not noticed")
            assert store.due is not None
            pauses.append(store.due - now[0])
            assert store.pid is None
            now[0] = store.due
    finally:
        store.close()
    doubled = [min(LAST_RETRY_S, FIRST_RETRY_S * 2**turn) for turn in range(9)]
    assert pauses == doubled
    health = store.health()
    assert not health.is_well
    assert "lost" in health.reason
    assert health.since_s > 0


def test_keys_stay_and_sign_while_their_store_has_no_process(
    tmp_path: Path, open_store: Any, wait: Wait
) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "key"]
    subprocess.run([*command, "-f", str(tmp_path / "key")], check=True, timeout=60)
    opened = open_store("file", file_settings(tmp_path))
    identity = opened.find("key")
    first = opened.store.pid
    os.kill(first, signal.SIGKILL)
    wait(lambda: opened.store.pid != first, "its end is not noticed")
    assert opened.comments == ["key"]
    signature = opened.store.sign(identity, b"data")
    verify_signature(parse_public_key(identity.key_blob), signature, b"data")
    wait(lambda: opened.store.health().is_well, f"not started again: {opened.reason}")
    assert [event.kind for event in opened.events] == ["store_broken"]


def test_the_process_of_a_store_ends_with_whoever_started_it(tmp_path: Path, wait: Wait) -> None:
    code = (
        "import sys, time\n"
        "from secretivex.stores.hosting.hosted import HostedStore, HostSpec\n"
        f"settings = {file_settings(tmp_path)!r}\n"
        f"environ = {{'PYTHONPATH': {str(ROOT / 'src')!r}}}\n"
        "store = HostedStore(HostSpec('file', 'file', settings, environ, {}))\n"
        "while not store.has_answered:\n"
        "    store.advance(); time.sleep(0.01)\n"
        "print(store.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait(60)
    parent.stdout.close()
    wait(lambda: not is_alive(pid), "the store's process stays")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
