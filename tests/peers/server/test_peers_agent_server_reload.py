"""Reloading the configuration of a running agent: all of it or nothing, on every worker."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from listening import is_listening
from settled import settle

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import ask, control_path

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def write_config(path: Path, key: Path, *, policy: str = "", more: str = "") -> None:
    store = f'[[stores]]\ntype = "file"\npaths = ["{key}"]\nscan_default_dir = false\n'
    path.write_text(f"{more}\n{store}\n[policy]\n{policy}\n")


def can_sign(service: Any, key: Path) -> bool:
    public = str(key.with_name(key.name + ".pub"))
    return bool(service.tool("ssh-add", "-T", public).returncode == 0)


@WORKERS
def test_a_new_policy_and_new_stores_hold_on_every_worker(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    config, key = tmp_path / "agent.toml", key_files["ed25519"]
    write_config(config, key)
    service = start_service("--config", config, workers=workers)
    assert can_sign(service, key)
    write_config(config, key, policy='deny_comments = ["ed25519"]')
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("keys read again"), "no reload")
    wait(lambda: not can_sign(service, key), "the new policy does not hold")
    settle(service.address)
    assert not any(can_sign(service, key) for _ in range(8))
    write_config(config, key_files["p256"])
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: can_sign(service, key_files["p256"]), "the new store's key does not sign")
    settle(service.address)
    assert "ED25519" not in service.ssh_add("-l").stdout


@WORKERS
def test_an_invalid_configuration_changes_nothing(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    config, key = tmp_path / "agent.toml", key_files["ed25519"]
    write_config(config, key, policy='deny_comments = ["nobody"]')
    service = start_service("--config", config, workers=workers)
    write_config(config, key_files["p256"], more="max_signers = 0\nno_such_key = 1")
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("configuration rejected"), "nothing was rejected")
    wait(lambda: service.logged("keys read again"), "keys were not read again")
    said = service.log.read_text()
    assert "max_signers: must be" in said
    assert "no_such_key: unknown key" in said
    assert can_sign(service, key)
    assert "ECDSA" not in service.ssh_add("-l").stdout


def test_rules_do_not_go_with_their_file(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    """A reload without the file, or with what came by a pipe, would be one without rules."""
    config, key = tmp_path / "config" / "secretive" / "agent.toml", key_files["ed25519"]
    config.parent.mkdir(parents=True)
    write_config(config, key, policy='deny_comments = ["*"]')
    service = start_service(env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
    agent = (sys.executable, "-m", "secretivex.cli.agent")
    reload = (*agent, "reload", "--socket", str(service.address))
    config.unlink()
    for reason in ("the file is gone", "is no regular file"):
        said = service.tool(*reload)
        assert (said.returncode, reason in said.stderr) == (3, True), said.stderr
        assert not can_sign(service, key)
        if not config.exists():
            os.mkfifo(config)
    config.unlink()
    write_config(config, key)
    assert service.tool(*reload).returncode == 0
    assert can_sign(service, key)


def test_what_needs_a_restart_is_named_and_keeps_its_value(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    config, key = tmp_path / "agent.toml", key_files["ed25519"]
    write_config(config, key)
    service = start_service("--config", config)
    before = set(service.workers)
    write_config(config, key, more="socket_backlog = 5\nidle_timeout_ms = 300")
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("settings that take effect at the next start"), "not named")
    assert "settings=socket_backlog" in service.log.read_text()
    assert set(service.workers) == before
    with service.connect() as idle:
        idle.settimeout(60)
        assert idle.recv(1) == b""
    assert can_sign(service, key)


@WORKERS
def test_an_agent_that_is_read_only_lists_and_signs_and_changes_nothing(
    start_service: Start, key_files: dict[str, Path], wait: Wait, tmp_path: Path, workers: int
) -> None:
    config, key = tmp_path / "agent.toml", key_files["ed25519"]
    write_config(config, key, more='agent_mode = "read-only"')
    service = start_service("--config", config, workers=workers)
    assert can_sign(service, key)
    for words in (("-q", str(key_files["rsa"])), ("-D",), ("-d", str(key))):
        assert service.ssh_add(*words).returncode != 0
    assert service.ssh_add("-l").stdout.count("\n") == 1
    write_config(config, key)
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.ssh_add("-q", str(key_files["rsa"])).returncode == 0, "still read-only")


@pytest.mark.parametrize("workers", [1, 3])
def test_keys_are_there_all_the_time_that_a_reload_takes_and_the_new_ones_when_it_answers(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    config = tmp_path / "agent.toml"
    kinds = ("ed25519", "p256")

    def point_at(kind: str) -> None:
        new = tmp_path / "new.toml"
        new.write_text(
            f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = ['{key_files[kind]}']\n"
        )
        new.replace(config)

    point_at(kinds[0])
    service = start_service("--config", config, workers=workers)
    control = control_path(service.address)
    wait(lambda: is_listening(control), "no control socket")
    for kind in (kinds[1], kinds[0], kinds[1]):
        point_at(kind)
        asking = Thread(target=ask, args=(control, "reload"), kwargs={"timeout_s": 60})
        asking.start()
        while asking.is_alive():
            assert comments(service) in ([kinds[0]], [kinds[1]])
        asking.join()
        assert [comments(service) for _ in range(8)] == [[kind]] * 8


def comments(service: Any) -> list[str]:
    """What a new connection lists."""
    with AgentClient(str(service.address), timeout_s=60) as agent:
        return [identity.comment for identity in agent.identities()]
