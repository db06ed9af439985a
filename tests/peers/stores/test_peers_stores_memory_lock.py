"""Memory that is kept out of swap: in every process that holds a key or a PIN, or said to be not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from secretivex.server.report.control_socket import ask, control_path

ROOT = Path(__file__).resolve().parents[3]
FILES = '[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key}"]\n'
TOKEN = (
    '[[stores]]\ntype = "pkcs11"\nmodule_path = "{module}"\ntoken_label = "{label}"\n'
    'pin_env = "TOKEN_PIN"\n'
)

PROBE = "from secretivex.hardening import lock_memory; print(lock_memory('try').refusal)"


def locked_kib(pid: int) -> int:
    """What the kernel keeps of a process; 0 for one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmLck:")), 0)
    return 0


def file_key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "file", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return FILES.format(key=path)


def run_python(code: str, *prefix: str) -> str:
    command = [*prefix, sys.executable, "-c", code]
    environ = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def limited(require_program: Callable[[str], str]) -> tuple[str, ...]:
    """Runs a program that may lock a megabyte and no more, as an ordinary user's."""
    limit = (require_program("prlimit"), "--memlock=1048576:1048576")
    if os.geteuid() != 0:
        return limit
    return (*limit, require_program("setpriv"), "--bounding-set=-ipc_lock")


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.long), "2"])
def test_every_process_that_holds_a_secret_is_locked(
    start_agent: Any, make_token: Any, tmp_path: Path, workers: str, wait: Any
) -> None:
    if refusal := run_python(PROBE):
        pytest.skip(f"this machine does not let its memory be locked: {refusal}")
    token = make_token()
    token.make("EC:prime256v1", "token", "01")
    config = file_key(tmp_path) + TOKEN.format(module=token.module, label=token.label)
    agent = start_agent(config, {**token.environ, "TOKEN_PIN": token.pin}, "--workers", workers)
    wait(lambda: len(agent.identities()) == 2, "the token's key is not listed")
    agent.sign(agent.find("token"))
    kinds = {"store", "helper"}

    def free() -> list[str]:
        """Processes that swap: one that was started just now has no secret yet."""
        return [kind for pid, kind in agent.family().items() if not locked_kib(pid)]

    wait(lambda: not kinds & set(free()), f"not locked: {agent.family()}")
    assert list(agent.family().values()).count("store") == 2
    assert "helper" in agent.family().values()
    assert locked_kib(agent.process.pid) > 0
    # The zygote splits off before any key is read, and the reporter never has one.
    expected = 0 if workers == "1" else 1
    wait(lambda: free().count("agent") == expected, f"not as expected: {agent.family()}")
    health = agent.client("health", "--socket", agent.address, "--format", "json")
    assert json.loads(health.stdout)["data"]["agent"]["memory"]["locked"]
    figures = ask(control_path(Path(agent.address)), "openmetrics", timeout_s=30)["openmetrics"]
    assert "secretivex_memory_locked 1" in figures


def test_a_limit_is_said_with_its_remedy_and_nothing_breaks(
    start_agent: Any, tmp_path: Path, limited: tuple[str, ...]
) -> None:
    agent = start_agent(file_key(tmp_path), {}, "--workers", "2", prefix=limited)
    for turn in range(20):
        agent.sign(agent.find("file"), f"{turn}".encode())
    assert all(locked_kib(pid) == 0 for pid in agent.family())
    health = agent.client("health", "--socket", agent.address)
    assert health.returncode == 0, health.stdout
    assert "memory_locked: no, RLIMIT_MEMLOCK allows 1048576 bytes" in health.stdout
    agent.config.write_text(agent.config.read_text() + f'socket_path = "{agent.address}"\n')
    (tmp_path / "doctor.toml").write_text(
        f'socket_path = "{agent.address}"\n' + FILES.format(key=tmp_path / "key")
    )
    doctor = agent.client("doctor", "--config", str(tmp_path / "doctor.toml"))
    assert "LimitMEMLOCK=infinity" in doctor.stdout


def test_who_demands_it_gets_it_or_no_agent(tmp_path: Path, limited: tuple[str, ...]) -> None:
    (tmp_path / "agent.toml").write_text('memory_lock = "require"\n' + file_key(tmp_path))
    command = ("-m", "secretivex.cli.agent", "run", "--config", str(tmp_path / "agent.toml"))
    done = subprocess.run(
        [*limited, sys.executable, *command, "--socket", str(tmp_path / "sock"), "--format=json"],
        env={"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "memory_not_locked"
    assert "RLIMIT_MEMLOCK allows" in error["message"]
    assert not (tmp_path / "sock").exists()


def test_it_can_be_switched_off(start_agent: Any, tmp_path: Path) -> None:
    agent = start_agent('memory_lock = "off"\n' + file_key(tmp_path), {}, "--workers", "2")
    assert all(locked_kib(pid) == 0 for pid in agent.family())
