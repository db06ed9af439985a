"""Passphrases and PINs out of a desktop's keyring: a real gnome-keyring over a session bus of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECRET = "Wintergoldhaehnchen-55"
SERVICE = "secretive-test"
Wait = Callable[[Callable[[], object], str], None]

SESSION = """
printf %s password | {daemon} --unlock --components=secrets --control-directory={control} >/dev/null
echo $DBUS_SESSION_BUS_ADDRESS
exec sleep 600
"""


@pytest.fixture
def desktop(tmp_path: Path, require_program: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """The environment of a session with an open keyring."""
    pytest.importorskip("secretstorage")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_RUNTIME_DIR": str(home),
    }
    script = SESSION.format(
        daemon=require_program("gnome-keyring-daemon"), control=home / "control"
    )
    bus = subprocess.Popen(
        [require_program("dbus-run-session"), "--", "sh", "-c", script],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert bus.stdout is not None
    address = bus.stdout.readline().strip()
    assert address, "no session bus"
    yield {**environ, "DBUS_SESSION_BUS_ADDRESS": address}
    os.killpg(bus.pid, signal.SIGTERM)
    bus.wait(60)
    bus.stdout.close()


def keyring(environ: dict[str, str], *arguments: str, secret: str = "") -> str:
    """The stock `keyring` program."""
    done = subprocess.run(
        [sys.executable, "-m", "keyring", *arguments],
        env=environ,
        input=secret,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_a_passphrase_is_had_from_the_keyring(
    start_agent: Any, desktop: dict[str, str], tmp_path: Path, wait: Wait
) -> None:
    assert "SecretService" in keyring(desktop, "--list-backends")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("known", "unknown"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", f"{SECRET}-{name}", "-a", "1"]
        subprocess.run([*command, "-C", name, "-f", str(keys / name)], check=True, timeout=60)
    keyring(desktop, "set", SERVICE, str(keys / "known"), secret=f"{SECRET}-known")
    config = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{keys}"]\n'
        f'passphrase_keyring = "{SERVICE}"\n'
    )
    agent = start_agent(config, desktop, "--workers", "2", "--log-level", "debug")
    wait(lambda: [one.comment for one in agent.identities()] == ["known"], "the key is not open")
    agent.sign(agent.find("known"))
    said = f"the keyring has no secret for {keys / 'unknown'} of {SERVICE}"
    wait(lambda: said in agent.log.read_text(), "the other one was not reported")
    keyring(desktop, "set", SERVICE, str(keys / "unknown"), secret=f"{SECRET}-unknown")
    agent.process.send_signal(signal.SIGHUP)
    wait(lambda: len(agent.identities()) == 2, "a reload does not ask the keyring again")
    assert SECRET not in agent.log.read_text()


@pytest.mark.long
def test_a_keyring_that_is_not_there_is_said(start_agent: Any, tmp_path: Path, wait: Wait) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name, phrase in (("open", ""), ("closed", SECRET)):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-a", "1", "-C", name]
        subprocess.run([*command, "-f", str(keys / name)], check=True, timeout=60)
    config = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{keys}"]\n'
        f'passphrase_keyring = "{SERVICE}"\n'
    )
    agent = start_agent(config, {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"})
    wait(lambda: "the keyring does not open" in agent.log.read_text(), agent.log.read_text())
    assert [one.comment for one in agent.identities()] == ["open"]
