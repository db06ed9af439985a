"""What the machine does to an agent: clocks that jump, sleep, no descriptors, swarms of clients."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import ask, control_path

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
WORKERS = pytest.mark.parametrize("workers", [1, 2])

SWARM = 40
"""Processes that connect at once, each many times."""


def faketime_library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""


@WORKERS
def test_a_wall_clock_that_jumps_changes_no_lifetime(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    require_program: Callable[[str], object],
    workers: int,
) -> None:
    require_program("faketime")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environ = {
        "LD_PRELOAD": faketime_library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    service = start_service("--key", key_files["ed25519"], workers=workers, env=environ)
    began = time.monotonic()
    assert service.ssh_add("-q", "-t", "6", str(key_files["rsa"])).returncode == 0
    clock.write_text("+3d")

    def is_over() -> bool:
        """On a machine that is too slow for it."""
        return time.monotonic() - began >= 6

    public = str(key_files["rsa"].with_suffix(".pub"))
    assert "(RSA)" in service.ssh_add("-l").stdout or is_over()
    assert service.ssh_add("-T", public).returncode == 0 or is_over()
    clock.write_text("-30d")
    wait(lambda: "(RSA)" not in service.ssh_add("-l").stdout, "the key never expired")
    assert is_over()
    assert "(ED25519)" in service.ssh_add("-l").stdout


def test_a_lifetime_ends_on_workers_that_hear_nothing_of_it(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=2)
    assert service.ssh_add("-q", "-t", "2", str(key_files["rsa"])).returncode == 0
    os.kill(service.process.pid, signal.SIGSTOP)
    try:
        wait(lambda: "(RSA)" not in service.ssh_add("-l").stdout, "the key outlived its time")
        public = str(key_files["rsa"].with_suffix(".pub"))
        for _ in range(8):  # whichever worker takes the connection
            assert service.ssh_add("-T", public).returncode != 0
            assert "(ED25519)" in service.ssh_add("-l").stdout
    finally:
        os.kill(service.process.pid, signal.SIGCONT)


@WORKERS
def test_an_agent_that_slept_goes_on_and_what_expired_meanwhile_is_gone(
    start_service: Start, key_files: dict[str, Path], workers: int, wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    assert service.ssh_add("-q", "-t", "2", str(key_files["rsa"])).returncode == 0
    with service.connect() as before:
        family = service.family()
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in family:
            os.kill(pid, signal.SIGCONT)
        before.sendall(b"\0\0\0\x01\x0b")
        assert before.recv(5)[4:] == b"\x0c"
    wait(lambda: "(RSA)" not in service.ssh_add("-l").stdout, "the key outlived its time")
    assert service.family() == family


@WORKERS
def test_without_descriptors_it_waits_and_then_goes_on(
    start_service: Start, key_files: dict[str, Path], wait: Wait, workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    serving = service.workers if workers > 1 else [service.process.pid]
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in serving}
    held = []
    for pid, (_, most) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, most))
    try:
        for _ in range(120):
            with suppress(OSError):
                held.append(service.connect())
        wait(lambda: service.logged("cannot accept"), "descriptors never ran out")
    finally:
        for connected in held:
            connected.close()
    wait(lambda: service.ssh_add("-l").returncode == 0, "it did not recover")
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    assert service.ssh_add("-l").returncode == 0
    family = service.family()
    assert family == service.family()


@contextmanager
def few_descriptors(pid: int, more: int = 0) -> Iterator[None]:
    """Let a process open so many more of those below the first that it has free."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    there = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    free = min(set(range(len(there) + 1)) - there)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + more if more else 3, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def test_what_dies_while_descriptors_are_out_is_made_again_when_there_are_some(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    key = key_files["ed25519"]
    service = start_service("--key", key, workers=2)
    workers, zygote, (store,) = service.workers, service.zygote, service.stores
    with few_descriptors(service.process.pid):
        os.kill(workers[0], signal.SIGKILL)
        wait(lambda: service.logged("cannot make a worker"), "nobody tried")
        os.kill(zygote, signal.SIGKILL)
        wait(lambda: service.logged("no zygote now"), "nobody tried")
        os.kill(store, signal.SIGKILL)
        wait(lambda: service.logged("store broken"), "nobody saw it")
        assert service.ssh_add("-T", str(key.with_name(key.name + ".pub"))).returncode == 0
    control = control_path(service.address)

    def is_whole() -> bool:
        told = ask(control, "health", timeout_s=60)
        ready = [row["ready"] for row in told["workers"]]
        return ready == [True, True] and all(one["is_well"] for one in told["stores"])

    wait(is_whole, "it did not recover")
    assert service.ssh_add("-l").stdout.count("(ED25519)") == 1
    assert service.stop() == 0


def test_a_reload_that_wants_more_descriptors_than_there_are_changes_nothing(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    store = "[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = ['{}']\n"
    config.write_text(store.format(key_files["ed25519"]))
    service = start_service("--config", config)
    control = control_path(service.address)
    assert ask(control, "reload", timeout_s=60)["rejected"] == ""
    before = service.ssh_add("-l").stdout
    # The file can be read; for the second store there is nothing left.
    config.write_text("".join(store.format(key_files[kind]) for kind in ("rsa", "p256", "p384")))
    with few_descriptors(service.process.pid, 1):
        answer = ask(control, "reload", timeout_s=60)
    assert "too little for the new stores: Too many open files" in answer["rejected"]
    assert answer["problems"][0]["code"] == "limit_too_low"
    assert service.ssh_add("-l").stdout == before
    assert ask(control, "reload", timeout_s=60)["rejected"] == ""
    assert service.ssh_add("-l").stdout.count("\n") == 3


@WORKERS
def test_a_hundred_hangups_and_reloads_under_load_cost_no_request(
    start_service: Start, key_files: dict[str, Path], workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    control, is_over = control_path(service.address), Event()
    family = service.family()

    def load() -> int:
        signed = 0
        while not is_over.is_set():
            with AgentClient(str(service.address), timeout_s=60) as agent:
                (identity,) = agent.identities()
                agent.sign(identity.blob, b"data")
                signed += 1
        return signed

    with ThreadPoolExecutor() as pool:
        loads = [pool.submit(load) for _ in range(3)]
        asked = [pool.submit(ask, control, "reload", timeout_s=60) for _ in range(20)]
        for _ in range(100):
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
        answers = [one.result() for one in asked]
        is_over.set()
        assert all(one.result() for one in loads)
    assert [answer["rejected"] for answer in answers] == [""] * 20
    assert service.family() == family
    assert service.stop() == 0


@WORKERS
def test_a_swarm_of_clients_that_die_at_once_leaves_nothing_behind(
    start_service: Start, key_files: dict[str, Path], wait: Wait, workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    serving = service.workers if workers > 1 else [service.process.pid]
    code = (
        "import os, socket, sys\n"
        "for _ in range(20):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "    s.sendall(b'\\0\\0\\0\\x01\\x0b' * 3)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    swarm = [
        subprocess.Popen((sys.executable, "-S", "-c", code, str(service.address)))
        for _ in range(SWARM)
    ]
    assert [process.wait(60) for process in swarm] == [-signal.SIGKILL] * SWARM
    assert service.ssh_add("-l").returncode == 0
    before = service.workers if workers > 1 else [service.process.pid]
    assert before == serving
    with service.connect() as last:
        last.sendall(b"\0\0\0\x01\x0b")
        assert last.recv(5)[4:] == b"\x0c"
