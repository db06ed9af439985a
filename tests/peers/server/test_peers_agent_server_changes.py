"""What `ssh-add` changes holds on every worker, at once, and through the death of any of them."""

from __future__ import annotations

import base64
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from settled import are_ready

from secretivex.server.crew.workers import START_S
from secretivex.server.report.control_socket import control_path
from sshwire.agent.requests import (
    LockRequest,
    RemoveRequest,
    Request,
    UnlockRequest,
    encode_request,
)

SUCCESS, FAILURE = b"\x06", b"\x05"
LIST = (1).to_bytes(4, "big") + b"\x0b"
PATIENCE_S = 60.0
WORKERS = (1, 3)
CONNECTIONS = 120
"""So many that every one of three workers holds some, whatever slack its share has."""


@pytest.fixture(params=WORKERS)
def service(
    request: pytest.FixtureRequest,
    start_service: Callable[..., Any],
    require_program: Callable[[str], str],
    key_files: dict[str, Path],
) -> Any:
    require_program("ssh-add")
    return start_service("--key", key_files["p256"], workers=request.param)


@pytest.fixture
def connections(service: Any) -> Iterator[list[socket.socket]]:
    opened = [service.connect() for _ in range(CONNECTIONS)]
    yield opened
    for connection in opened:
        connection.close()


def ask(connection: socket.socket, payload: bytes) -> bytes:
    connection.sendall(len(payload).to_bytes(4, "big") + payload)
    reply = connection.makefile("rb")
    return reply.read(int.from_bytes(reply.read(4), "big"))


def send(connection: socket.socket, request: Request) -> bytes:
    return ask(connection, encode_request(request))


def counts(connections: list[socket.socket]) -> set[int]:
    """How many keys each connection sees."""
    return {int.from_bytes(ask(connection, b"\x0b")[1:5], "big") for connection in connections}


def test_every_connection_sees_a_change_once_ssh_add_returns(
    service: Any, connections: list[socket.socket], key_files: dict[str, Path]
) -> None:
    for name, expected in (("ed25519", 2), ("rsa", 3), ("p521", 4)):
        assert service.ssh_add("-q", str(key_files[name])).returncode == 0
        assert counts(connections) == {expected}
    assert service.ssh_add("-T", f"{key_files['rsa']}.pub").returncode == 0
    assert service.ssh_add("-d", str(key_files["rsa"])).returncode == 0
    assert counts(connections) == {3}
    assert service.ssh_add("-d", str(key_files["rsa"])).returncode == 1
    assert service.ssh_add("-T", f"{key_files['rsa']}.pub").returncode == 1
    assert service.ssh_add("-D").returncode == 0
    assert counts(connections) == {0}


def test_a_file_key_that_was_removed_comes_back_with_a_reload(
    service: Any, key_files: dict[str, Path], wait: Callable[..., None]
) -> None:
    assert service.ssh_add("-d", str(key_files["p256"])).returncode == 0
    assert service.ssh_add("-l").returncode == 1
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.ssh_add("-l").returncode == 0, "the key did not come back")


def test_a_lifetime_ends_on_every_connection(
    service: Any, connections: list[socket.socket], key_files: dict[str, Path]
) -> None:
    begin = time.monotonic()
    assert service.ssh_add("-q", "-t", "2", str(key_files["ed25519"])).returncode == 0
    # A machine that is too slow for it may see the end only.
    assert counts(connections) == {2} or time.monotonic() - begin >= 2.0
    while counts(connections) != {1}:
        assert time.monotonic() < begin + PATIENCE_S
        time.sleep(0.02)
    assert time.monotonic() - begin >= 2.0


def test_sigusr1_drops_what_clients_added(
    service: Any, key_files: dict[str, Path], wait: Callable[..., None]
) -> None:
    assert service.ssh_add("-q", str(key_files["ed25519"])).returncode == 0
    service.process.send_signal(signal.SIGUSR1)
    wait(lambda: len(service.ssh_add("-l").stdout.splitlines()) == 1, "the key is still there")


def test_a_lock_shuts_every_connection_and_the_passphrase_opens_it(
    service: Any, connections: list[socket.socket], key_files: dict[str, Path]
) -> None:
    first, second = connections[0], connections[-1]
    assert send(first, UnlockRequest(b"never locked")) == FAILURE
    assert send(first, LockRequest(b"")) == FAILURE
    assert send(first, LockRequest(b"secret")) == SUCCESS
    assert counts(connections) == {0}
    assert send(second, LockRequest(b"other")) == FAILURE
    assert service.ssh_add("-q", str(key_files["ed25519"])).returncode != 0
    begin = time.monotonic()
    assert [send(second, UnlockRequest(b"wrong")) for _ in range(2)] == [FAILURE, FAILURE]
    assert time.monotonic() - begin >= 0.3
    assert send(second, UnlockRequest(b"secret")) == SUCCESS
    assert counts(connections) == {1}


def test_nobody_else_waits_while_wrong_passphrases_are_punished(service: Any) -> None:
    with service.connect() as guessing, service.connect() as other:
        assert send(guessing, LockRequest(b"secret")) == SUCCESS
        for _ in range(5):
            assert send(guessing, UnlockRequest(b"wrong")) == FAILURE
        payload = encode_request(UnlockRequest(b"wrong"))
        begin = time.monotonic()
        guessing.sendall(len(payload).to_bytes(4, "big") + payload)
        assert ask(other, b"\x0b") == b"\x0c\0\0\0\0"
        # Unless the machine slept for as long as the punishment lasts.
        is_punished = not select.select([guessing], [], [], 0)[0]
        assert is_punished or time.monotonic() - begin > 0.5
        assert guessing.recv(5)[4:] == FAILURE
        assert time.monotonic() - begin > 0.5


def test_requests_sent_at_once_are_answered_as_if_sent_one_by_one(
    service: Any, key_files: dict[str, Path]
) -> None:
    with service.connect() as connection:
        connection.sendall(b"\0\0\0\x01\x0b" + b"\0\0\0\x01\x13" + b"\0\0\0\x01\x0b")
        replies = connection.makefile("rb")
        payloads = [replies.read(int.from_bytes(replies.read(4), "big")) for _ in range(3)]
    assert payloads[0][:5] == b"\x0c\0\0\0\x01"
    assert payloads[1:] == [SUCCESS, b"\x0c\0\0\0\0"]


def test_no_death_of_a_worker_loses_a_key_or_a_lock(
    start_service: Callable[..., Any], key_files: dict[str, Path], wait: Callable[..., None]
) -> None:
    service = start_service("--key", key_files["p256"], workers=2)
    assert service.ssh_add("-q", str(key_files["ed25519"])).returncode == 0
    old = service.workers
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(set(service.workers) - set(old)) == 2, "no new workers")
    assert len(service.ssh_add("-l").stdout.splitlines()) == 2
    with service.connect() as connection:
        assert send(connection, LockRequest(b"secret")) == SUCCESS
    old = service.workers
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(set(service.workers) - set(old)) == 2, "no new workers")
    with service.connect() as connection:
        assert counts([connection]) == {0}
        assert send(connection, UnlockRequest(b"secret")) == SUCCESS
        assert counts([connection]) == {2}


def first_that_answers(connections: list[socket.socket]) -> socket.socket:
    """A connection whose worker lives, though another's hangs."""
    for connection in connections:
        connection.sendall(LIST)
    ready, _, _ = select.select(connections, [], [], PATIENCE_S)
    first: socket.socket = ready[0]
    reply = first.makefile("rb")
    reply.read(int.from_bytes(reply.read(4), "big"))
    return first


def test_a_worker_that_hangs_holds_a_change_up_for_half_a_second(
    start_service: Callable[..., Any], key_files: dict[str, Path], wait: Callable[..., None]
) -> None:
    service = start_service("--key", key_files["p256"], "--key", key_files["ed25519"], workers=2)
    # One that was never ready has longer, and one alone would hold every connection.
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: are_ready(service.address), "a worker is not ready")
    opened = [service.connect() for _ in range(CONNECTIONS)]
    assert counts(opened) == {2}
    os.kill(service.workers[0], signal.SIGSTOP)
    alive = first_that_answers(opened)
    begin = time.monotonic()
    blob = base64.b64decode(key_files["ed25519"].with_suffix(".pub").read_text().split()[1])
    assert send(alive, RemoveRequest(blob)) == SUCCESS
    elapsed = time.monotonic() - begin
    # Far from the patience that a worker has for its start, with room for a busy machine.
    assert elapsed < START_S / 2
    assert counts([alive]) == {1}
    for connection in opened:
        connection.close()


def test_workers_that_die_with_changes_in_hand_take_nothing_with_them(
    start_service: Callable[..., Any],
    key_files: dict[str, Path],
    wait: Callable[..., None],
    running: Callable[[int], bool],
) -> None:
    service = start_service("--key", key_files["p256"], workers=2)
    assert service.ssh_add("-q", str(key_files["ed25519"])).returncode == 0
    opened = [service.connect() for _ in range(CONNECTIONS)]
    old = service.workers
    # The supervisor finds requests of workers that are gone: each answer fails as it is written.
    os.kill(service.process.pid, signal.SIGSTOP)
    for connection in opened:
        payload = encode_request(RemoveRequest(b"unknown"))
        connection.sendall(len(payload).to_bytes(4, "big") + payload)
    time.sleep(0.3)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not any(map(running, old)), "they live")
    os.kill(service.process.pid, signal.SIGCONT)
    wait(lambda: len(set(service.workers) - set(old)) == 2, "no new workers")
    assert len(service.ssh_add("-l").stdout.splitlines()) == 2
    for connection in opened:
        connection.close()
