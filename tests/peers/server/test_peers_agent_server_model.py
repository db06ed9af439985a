"""Random operations on a real agent with three workers, some of which are killed or stopped.

The model is agent_model's, as for the agent as a function in tests/property. Only time bounds it.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agent_model import (
    CONNECTIONS,
    PASSPHRASES,
    Checker,
    add_request,
    random_operation,
    write_key_file,
)
from ssh_hosts import blob_of

from sshwire.agent.requests import (
    ListRequest,
    RemoveAllRequest,
    RemoveRequest,
    Request,
    UnlockRequest,
    encode_request,
)

WORKERS = 3
SECONDS = 20.0
LONG_SECONDS = 600.0
MAX_OPERATIONS = 15
SCRATCH = 99
"""A key that no operation knows: adding it shows that every worker is up to date."""

SUCCESS = b"\x06"


class RealAgent:
    """A service and connections to it, wherever the system put them."""

    slack_s = 0.6

    def __init__(self, service: Any, wait: Callable[..., None]) -> None:
        self._service = service
        self._wait = wait
        self._connections: list[socket.socket] = [service.connect() for _ in range(CONNECTIONS)]

    def ask(self, connection: int, payload: bytes) -> bytes:
        """One request and its reply."""
        return _ask(self._connections[connection], payload)

    def reopen(self, connection: int) -> None:
        """Another connection, perhaps of another worker."""
        self._connections[connection].close()
        self._connections[connection] = self._service.connect()

    def now(self) -> float:
        """A clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def reload(self) -> None:
        """Have the files read, and every worker know of it."""
        before = self._count("keys read again")
        self._service.process.send_signal(signal.SIGHUP)
        self._wait(lambda: self._count("keys read again") > before, "no reload")
        self._synchronise()

    def harm(self, how: int) -> list[int]:
        """Kill a worker at rest, stop one, or kill one while a change is made."""
        before = self._service.workers
        victim = before[how % len(before)]
        kind = how % 3
        if kind == 1 and self._can_change():
            os.kill(victim, signal.SIGSTOP)
            self._synchronise()
        elif kind == 2:
            with self._service.connect() as fresh:
                _send(fresh, add_request(SCRATCH, "scratch", None, ""))
                os.kill(victim, signal.SIGKILL)
                with suppress(ConnectionError, EOFError):
                    _receive(fresh)
        else:
            os.kill(victim, signal.SIGKILL)
        self._wait(lambda: self._is_whole(victim), f"not replaced: {self._service.log.read_text()}")
        self._synchronise()
        return [one for one in range(CONNECTIONS) if self._mend(one)]

    def _is_whole(self, victim: int) -> bool:
        workers = self._service.workers
        return len(workers) == WORKERS and victim not in workers

    def _mend(self, connection: int) -> bool:
        """Open a connection again if its worker is gone;."""
        try:
            self.ask(connection, encode_request(ListRequest()))
        except (ConnectionError, EOFError):
            self.reopen(connection)
            return True
        return False

    def _can_change(self) -> bool:
        """Whether the agent is not locked."""
        with self._service.connect() as fresh:
            return _ask(fresh, encode_request(add_request(SCRATCH, "s", None, ""))) == SUCCESS

    def _synchronise(self) -> None:
        """Make a change that is no change; a locked agent refuses it, and shows nothing anyway."""
        with self._service.connect() as fresh:
            added = _ask(fresh, encode_request(add_request(SCRATCH, "scratch", None, "")))
            removed = _ask(fresh, encode_request(RemoveRequest(blob_of(f"k{SCRATCH}"))))
        assert added == removed

    def _count(self, text: str) -> int:
        return int(self._service.log.read_text().count(text))

    def expired(self) -> int:
        """How many keys the supervisor says that it let expire."""
        return sum(map(int, re.findall(r"keys expired keys=(\d+)", self._service.log.read_text())))

    def reset(self) -> None:
        """Empty and unlocked, whatever was before."""
        with self._service.connect() as fresh:
            for passphrase in PASSPHRASES:
                _ask(fresh, encode_request(UnlockRequest(passphrase)))
            assert _ask(fresh, encode_request(RemoveAllRequest())) == SUCCESS
        self.reload()
        for connection in range(CONNECTIONS):
            self.reopen(connection)

    def close(self) -> None:
        """Leave."""
        for connection in self._connections:
            connection.close()


def _send(connected: socket.socket, request: Request) -> None:
    payload = encode_request(request)
    connected.sendall(len(payload).to_bytes(4, "big") + payload)


def _ask(connected: socket.socket, payload: bytes) -> bytes:
    connected.sendall(len(payload).to_bytes(4, "big") + payload)
    return _receive(connected)


def _receive(connected: socket.socket) -> bytes:
    """One reply; raises EOFError where none comes."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        more = connected.recv(65536)
        if not more:
            raise EOFError
        data += more
    return data[4:]


def run(
    start_service: Callable[..., Any], wait: Callable[..., None], folder: Path, seconds: float
) -> None:
    """Sequences until the time is over."""
    service = start_service("--key", write_key_file(folder), workers=WORKERS)
    agent = RealAgent(service, wait)
    end = time.monotonic() + seconds
    counts = {"sequences": 0, "operations": 0, "expired": 0, "doubtful": 0}

    agent.reset()
    while time.monotonic() < end:
        seeded = random.Random(counts["sequences"])
        checker, done = Checker(agent), []
        try:
            for _ in range(seeded.randint(1, MAX_OPERATIONS)):
                done.append(random_operation(seeded))
                checker.do(done[-1])
        except AssertionError as error:
            error.add_note(f"after {done}")
            raise
        agent.reset()
        checker.leave()
        counts["sequences"] += 1
        counts["operations"] += checker.operations
        counts["expired"] += checker.expired
        counts["doubtful"] += checker.doubtful
    agent.close()
    print(counts)  # noqa: T201 - what the report cites
    assert 0 <= agent.expired() - counts["expired"] <= counts["doubtful"], counts
    assert service.stop() == 0


def test_real_workers_agree_with_the_model(
    start_service: Callable[..., Any], wait: Callable[..., None], tmp_path: Path
) -> None:
    run(start_service, wait, tmp_path, SECONDS)


@pytest.mark.long
def test_real_workers_agree_with_the_model_for_long(
    start_service: Callable[..., Any], wait: Callable[..., None], tmp_path: Path
) -> None:
    run(start_service, wait, tmp_path, LONG_SECONDS)
