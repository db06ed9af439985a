"""Clients that mean harm, on two workers: what they cost, and that nobody else notices.

After each of them every other client is answered at once, the workers are the same processes, and
their memory and their descriptors are about what they were before.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from engine_target import seeds
from ssh_hosts import bind_body

from secretivex.server.surroundings.starving import starved_s
from sshwire.agent.connection import encode_frame
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.numbers import MAX_FRAME_BYTES, RequestNumber
from sshwire.agent.requests import ExtensionRequest, UnlockRequest, encode_request

LIST = encode_frame(b"\x0b")
PATIENCE_S = 2.0
"""Longest that an innocent client waits, the time apart in which no core was free for it or for a
worker. Its usual wait is below 10 ms."""

GROWTH_KIB = 48 * 1024
"""How much a worker may grow by all the clients of one test."""

CLIENTS = 30
LAZY_FILES = 6
"""Descriptors that workers open when they first need them; a leak is one for each client."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


class Bystander:
    """An innocent client that asks for the list all the time, and remembers its longest wait."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._is_over = threading.Event()
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.longest_s = 0.0
        self.asked = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_begun.wait(60), "nobody was answered"
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        assert self.asked > 0
        assert self.longest_s < PATIENCE_S

    def _ask(self) -> None:
        standing = [self._service.connect() for _ in range(4)]
        who = (*self._service.workers, threading.get_native_id())
        while not self._is_over.is_set():
            for connected in (*standing, self._service.connect()):
                begin = time.monotonic() - sum(map(starved_s, who))
                connected.sendall(LIST)
                assert connected.recv(65536)[4:5] == b"\x0c"
                waited_s = time.monotonic() - sum(map(starved_s, who)) - begin
                self.longest_s = max(self.longest_s, waited_s)
                self.asked += 1
                self._has_begun.set()
            connected.close()
        for connected in standing:
            connected.close()


@pytest.fixture
def service(
    start_service: Callable[..., Any], key_files: dict[str, Path], wait: Callable[..., None]
) -> Iterator[Any]:
    """An agent that must be as it was when the test is over."""
    served = start_service("--key", key_files["ed25519"], "--write-timeout-ms", "1000", workers=2)
    for _ in range(100):
        with served.connect() as connected:
            connected.sendall(LIST)
            connected.recv(65536)
    # A worker that started late has its descriptors yet to open.
    wait(lambda: spread(served) <= LAZY_FILES, "the workers never became alike")
    workers, memory, files = served.workers, memory_kib(served), open_files(served)
    yield served
    assert served.workers == workers
    grown = [after - before for before, after in zip(memory, memory_kib(served), strict=True)]
    assert max(grown) < GROWTH_KIB, grown
    wait(lambda: open_files(served) <= files + LAZY_FILES, "descriptors leak")


def memory_kib(service: Any) -> list[int]:
    """Of the supervisor and the workers."""
    return [
        int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index] # Linux has it
        for pid in (service.process.pid, *service.workers)
    ]


def files_by_worker(service: Any) -> list[int]:
    """Descriptors of each worker; processes that are not dumpable show them to root only."""
    if os.geteuid() != 0:
        return [0]
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in service.workers]  # noqa: PTH208 - names alone


def open_files(service: Any) -> int:
    """Descriptors of all workers."""
    return sum(files_by_worker(service))


def spread(service: Any) -> int:
    """How many descriptors one worker has more than another."""
    counts = files_by_worker(service)
    return max(counts) - min(counts)


def receive(connected: socket.socket) -> bytes:
    """One reply's payload."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        more = connected.recv(65536)
        assert more, "hung up"
        data += more
    return data[4:]


def lies() -> Iterator[bytes]:
    """Payloads whose lengths and counts promise what is not there, and real ones with more or less."""
    for number in RequestNumber:
        for length in (2**32 - 1, 2**31, MAX_FRAME_BYTES, 1):
            lying = length.to_bytes(4, "big")
            yield bytes([number]) + lying
            yield bytes([number]) + lying * 12
            yield bytes([number]) + b"\0\0\0\x10" + lying * 4
    for seed in list(seeds())[::7]:
        yield seed[1:-1] or b"\0"
        yield seed[1:] + b"\0\0\0\1"


def test_a_well_framed_lie_gets_one_reply_and_the_connection_stays(service: Any) -> None:
    with Bystander(service), service.connect() as connected:
        for payload in lies():
            if payload[:1] in (b"\x16", b"\x17", b"\x11", b"\x19", b"\x12", b"\x13", b"\x14"):
                continue  # what may change the state is in the next test
            connected.sendall(encode_frame(payload))
            assert receive(connected)[0] in (5, 6, 12, 14, 28, 29)


def test_changes_that_lie_are_refused(service: Any) -> None:
    with Bystander(service), service.connect() as connected:
        for number in (17, 18, 20, 21, 25, 26, 27):
            for length in (2**32 - 1, 2**31, MAX_FRAME_BYTES, 65536):
                lying = length.to_bytes(4, "big")
                for body in (lying, lying * 12, b"\0\0\0\x07ssh-rsa" + lying * 12):
                    connected.sendall(encode_frame(bytes([number]) + body))
                    assert receive(connected) == b"\x05"


def test_the_longest_messages_of_many_clients(service: Any) -> None:
    body = bytes(MAX_FRAME_BYTES - 1)
    with Bystander(service), ExitStack() as stack:
        for _ in range(3):
            clients = [stack.enter_context(service.connect()) for _ in range(CLIENTS)]
            for connected, number in zip(clients, [*RequestNumber] * 3, strict=False):
                if number is not RequestNumber.REMOVE_ALL_IDENTITIES:
                    connected.sendall(encode_frame(bytes([number]) + body))
                    assert receive(connected)


def test_clients_that_promise_a_long_message_and_send_it_byte_by_byte(service: Any) -> None:
    with Bystander(service), ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(CLIENTS)]
        for connected in clients:
            connected.sendall(MAX_FRAME_BYTES.to_bytes(4, "big"))
        for _ in range(20):
            for connected in clients:
                connected.sendall(b"\x11")
            time.sleep(0.05)
            for connected in clients[:1]:
                connected.close()
                clients.remove(connected)


@pytest.mark.parametrize("request_", [b"\xc8", b"\x0b", b"\x09", b"\x1b\0\0\0\5query"])
def test_a_flood_that_is_never_read(service: Any, request_: bytes) -> None:
    with Bystander(service), ExitStack() as stack:
        flood(service, stack, encode_frame(request_))


def test_a_flood_of_session_binds(service: Any) -> None:
    bind = encode_request(ExtensionRequest(SESSION_BIND, bind_body("host", b"session")))
    with Bystander(service), ExitStack() as stack:
        flood(service, stack, encode_frame(bind))


def flood(service: Any, stack: ExitStack, frame: bytes, seconds: float = 2.5) -> None:
    """Several clients write as fast as they can and read nothing, until they are cut off."""
    clients = [stack.enter_context(service.connect()) for _ in range(6)]
    chunk = frame * (65536 // len(frame))
    end = time.monotonic() + seconds
    for connected in clients:
        connected.setblocking(False)
    while time.monotonic() < end:
        for connected in clients:
            with suppress(OSError):
                connected.send(chunk)
        time.sleep(0.001)


def test_half_closed_sockets_are_answered_and_closed(service: Any) -> None:
    with Bystander(service), ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(CLIENTS)]
        for connected in clients:
            connected.sendall(LIST * 200 + b"\0\0\4")
            connected.shutdown(socket.SHUT_WR)
        for connected in clients:
            received = b""
            while data := connected.recv(65536):
                received += data
            assert len(received) % 200 == 0
            assert received[:5] == received[len(received) // 200 :][:5]


def test_clients_that_hang_up_at_every_place_of_a_request(service: Any) -> None:
    with Bystander(service):
        for cut in range(len(LIST) + 1):
            for _ in range(50):
                with service.connect() as connected:
                    connected.sendall(LIST * 3 + LIST[:cut])


def test_clients_that_guess_and_hang_up_fill_nothing(service: Any) -> None:
    guess = encode_frame(encode_request(UnlockRequest(b"g" * 4000)))
    with Bystander(service):
        with service.connect() as locking:
            locking.sendall(encode_frame(encode_request(UnlockRequest(b"never"))))
            assert receive(locking) == b"\x05"
        for _ in range(1000):
            with service.connect() as connected:
                connected.sendall(guess)


def test_a_comment_that_grows_as_it_is_read_harms_no_worker(service: Any) -> None:
    payload = b"\x11\0\0\0\x0bssh-ed25519" + b"\0\0\0\1x" * 2 + (200_000).to_bytes(4, "big")
    with Bystander(service), service.connect() as connected:
        connected.sendall(encode_frame(payload + b"\xff" * 200_000))
        assert receive(connected) == b"\x05"
