"""What the machine does to an agent: clocks that jump, sleep, no descriptors, swarms of clients."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

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
