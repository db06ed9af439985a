"""Our agent as a user runs it, in a process of its own, with a hand on its workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0
"""Longest wait for anything: the machine may be busy with other tests."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again; fail with `what` when patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Direct children, from Linux's /proc."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


STORE = b"secretivex.stores.hosting.host"


def command_line_of(pid: int) -> bytes:
    """A process's program and arguments; b"" once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def name_of(pid: int) -> str:
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Service:
    """One running `secretive-agent`."""

    address: Path
    process: subprocess.Popen[str]
    log: Path
    environ: dict[str, str] = field(default_factory=dict)

    def ssh_add(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.tool("ssh-add", *arguments)

    def tool(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A stock program with this agent."""
        environ = {**os.environ, "SSH_AUTH_SOCK": str(self.address)}
        return subprocess.run(
            command,
            env=environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(PATIENCE_S)
        try:
            connected.connect(str(self.address))
        except OSError:
            connected.close()
            raise
        return connected

    @property
    def stores(self) -> list[int]:
        """The processes of stores."""
        return [pid for pid in children_of(self.process.pid) if STORE in command_line_of(pid)]

    @property
    def zygote(self) -> int:
        return next(pid for pid in children_of(self.process.pid) if pid not in self.stores)

    @property
    def workers(self) -> list[int]:
        return [pid for pid in self.grandchildren if name_of(pid) != "agent-reporter"]

    @property
    def grandchildren(self) -> list[int]:
        """What the zygote made: workers and the reporter."""
        stores = self.stores
        zygotes = [pid for pid in children_of(self.process.pid) if pid not in stores]
        return [pid for child in zygotes for pid in children_of(child)]

    def family(self) -> list[int]:
        return [self.process.pid, *children_of(self.process.pid), *self.grandchildren]

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def stop(self) -> int:
        """End it by SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


StartService = Callable[..., Service]


def command_of(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "secretivex.cli.agent", *arguments]


def environ_of(**more: str) -> dict[str, str]:
    kept = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), **more}


@pytest.fixture
def wait() -> Callable[[Callable[[], bool], str], None]:
    """`wait_until`, for tests."""
    return wait_until


@pytest.fixture
def running() -> Callable[[int], bool]:
    """`is_running`, for tests."""
    return is_running


@pytest.fixture
def run_agent() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `secretive-agent` to its end: for what it refuses."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_of(*map(str, arguments)),
            env=environ_of(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start `secretive-agent run`; ready when it answers a list. Killed after the test."""
    with ExitStack() as stack:

        def start(
            *arguments: str | Path,
            workers: int = 2,
            env: dict[str, str] | None = None,
            address: Path = tmp_path / "agent.sock",
            before: Sequence[str] = (),
        ) -> Service:
            log = tmp_path / f"{address.parent.name}-{address.stem}.log"
            command = command_of(
                "run", "--socket", str(address), "--workers", str(workers), *map(str, arguments)
            )
            with log.open("wb") as stderr:
                process = subprocess.Popen(
                    [*before, *command], env=environ_of(**(env or {})), stderr=stderr, text=True
                )
            service = Service(address, process, log)
            stack.callback(kill_family, service)
            wait_until(lambda: answers(service), f"no answer: {log.read_text()}")
            if workers > 1 and not before:
                # The reporter is made last, and counts as a worker until it has said its name.
                wait_until(lambda: is_complete(service, workers), "not so many workers")
            return service

        yield start


def is_complete(service: Service, workers: int) -> bool:
    """Whether all workers are made, and the reporter has its name."""
    names = [name_of(pid) for pid in service.grandchildren]
    return len(names) == workers + 1 and "agent-reporter" in names


def answers(service: Service) -> bool:
    """Whether a list is answered; fails at once if the process is gone."""
    assert service.process.poll() is None, service.log.read_text()
    with suppress(OSError), service.connect() as connected:
        connected.sendall(b"\0\0\0\x01\x0b")
        return connected.recv(5)[4:] == b"\x0c"
    return False


def kill_family(service: Service) -> None:
    """Whatever is still there, by its number; stopped processes too."""
    for pid in service.family():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.process.wait()
