"""Stores behind the whole agent: OpenSSH's tools as clients, tokens and TPMs below."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentclient.client import AgentClient

ROOT = Path(__file__).resolve().parents[3]

Wait = Callable[[Callable[[], object], str], None]


def pkcs11_table(token: Any, **more: Any) -> str:
    rows = {
        "module_path": token.loaded or token.module,
        "token_label": token.label,
        "pin_env": "TOKEN_PIN",
        **more,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in rows.items()]
    return "\n".join(['[[stores]]\ntype = "pkcs11"', *lines, ""])


def file_table(path: Path) -> str:
    return f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{path}"]\n'


def make_file_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "file", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_key_that_sleeps_does_not_delay_file_keys(
    start_agent: Any, shimmed: Any, tmp_path: Path, workers: str, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "token", "01")
    key = make_file_key(tmp_path / "key")
    config = file_table(key) + pkcs11_table(shimmed)
    environ = {**shimmed.environ, "TOKEN_PIN": shimmed.pin}
    agent = start_agent(config, environ, "--workers", workers)
    wait(lambda: len(agent.identities()) == 2, "the token's key is not listed")
    slow, quick = agent.find("token"), agent.find("file")
    (tmp_path / "orders").write_text("sleep 5")
    stuck = [threading.Thread(target=agent.sign, args=(slow,)) for _ in range(8)]
    for thread in stuck:
        thread.start()
    time.sleep(0.3)
    waits = []
    for turn in range(50):
        begun = time.perf_counter()
        agent.sign(quick, f"{turn}".encode())
        waits.append(time.perf_counter() - begun)
    (tmp_path / "orders").unlink()
    for thread in stuck:
        thread.join(60)
    assert sorted(waits)[len(waits) // 2] < 0.05, waits


def test_a_reload_takes_stores_in_and_out_without_dropping_connections(
    start_agent: Any, make_token: Any, tmp_path: Path, wait: Wait
) -> None:
    token = make_token()
    token.make("EC:prime256v1", "token", "01")
    key = make_file_key(tmp_path / "key")
    environ = {**token.environ, "TOKEN_PIN": token.pin}
    agent = start_agent(file_table(key), environ)
    with AgentClient(agent.address, timeout_s=60) as client:
        assert [one.comment for one in client.identities()] == ["file"]
        agent.config.write_text(file_table(key) + pkcs11_table(token))
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: len(agent.identities()) == 2, "the new store is not served")
        assert [one.comment for one in client.identities()] == ["file", "token"]
        agent.config.write_text(pkcs11_table(token))
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: len(agent.identities()) == 1, "the old store is still served")
        assert [one.comment for one in client.identities()] == ["token"]
    agent.sign(agent.find("token"))


def test_keys_are_made_taken_over_shown_and_removed(
    start_agent: Any, simulator: Any, tmp_path: Path, wait: Wait
) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o700)
    key = make_file_key(tmp_path / "key")
    table = f'[[stores]]\ntype = "tpm"\npaths = ["{folder}"]\ndevice = "{simulator.address}"\n'
    agent = start_agent(file_table(key) + table, {})
    config = ("--config", str(agent.config), "--store", "tpm")
    made = agent.client("keys", "create", *config, "--label", "made")
    assert made.returncode == 0, made.stderr
    source = tmp_path / "source"
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "x", "-f", str(source)]
    subprocess.run(command, check=True, timeout=60)
    taken = agent.client("keys", "import", *config, "--label", "taken", str(source))
    assert taken.returncode == 0, taken.stderr
    wait(lambda: len(agent.identities()) == 3, "the new keys are not served")
    for name in ("made", "taken"):
        agent.sign(agent.find(name))
    shown = agent.client("keys", "export-public", *config)
    assert shown.stdout == made.stdout + taken.stdout
    assert source.with_suffix(".pub").read_text().split()[1] == taken.stdout.split()[1]
    assert agent.client("keys", "delete", *config, "--label", "made").returncode == 2
    assert agent.client("keys", "delete", *config, "--label", "made", "--yes").returncode == 0
    wait(lambda: len(agent.identities()) == 2, "a key that was removed is still served")
    for arguments, status in (
        (("create", *config[:2], "--store", "file", "--label", "x"), 3),
        (("create", *config[:2], "--store", "tpm-7", "--label", "x"), 4),
        (("create", *config, "--label", "../x"), 2),
    ):
        assert agent.client("keys", *arguments).returncode == status, arguments


def test_doctor_names_what_is_wrong_and_the_remedy(
    start_agent: Any, make_token: Any, tmp_path: Path
) -> None:
    token = make_token()
    key = make_file_key(tmp_path / "key")
    agent = start_agent(file_table(key), token.environ)
    good = agent.client("doctor", "--config", str(agent.config))
    assert good.returncode == 0, good.stdout
    pin = tmp_path / "pin"
    pin.write_text("1234")
    pin.chmod(0o644)
    bad = pkcs11_table(token, module_path="/nowhere/x.so")
    loose = pkcs11_table(token).replace('pin_env = "TOKEN_PIN"', f'pin_file = "{pin}"')
    tpm = f'[[stores]]\ntype = "tpm"\npaths = ["{tmp_path}"]\ndevice = "device:/nowhere/tpm"\n'
    (tmp_path / "bad.toml").write_text(bad + loose + tpm)
    found = agent.client("doctor", "--config", str(tmp_path / "bad.toml"), "--format", "json")
    assert found.returncode == 1, found.stderr
    failed = {
        one["check"].rpartition(": ")[2]: one["remedy"]
        for one in json.loads(found.stdout)["data"]["checks"]
        if one["state"] == "failed"
    }
    assert failed.keys() == {"module_path", "PIN", "device"}
    assert f"chmod 600 {pin}" in failed["PIN"]
