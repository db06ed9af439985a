"""What goes wrong while it serves: killed and hung processes, hostile and greedy clients."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from settled import are_ready

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.connection import ClientTurns, encode_frame
from sshwire.agent.replies import IdentitiesAnswer, SignResponse, parse_reply
from sshwire.agent.requests import ListRequest, SignRequest, encode_request
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Running = Callable[[int], bool]

LIST = encode_request(ListRequest())


@pytest.fixture
def flags(key_files: dict[str, Path]) -> list[str]:
    return [flag for path in key_files.values() for flag in ("--key", str(path))]


def all_sign(service: Any) -> int:
    """Sign with every key, each on a connection of its own; how many there were."""
    with AgentClient(str(service.address)) as client:
        identities = client.identities()
    for identity in identities:
        with AgentClient(str(service.address)) as client:
            signature = client.sign(identity.blob, b"data")
        verify_signature(parse_public_key(identity.blob), signature, b"data")
    return len(identities)


def test_a_killed_worker_is_replaced_and_no_key_is_lost(
    start_service: Start, flags: list[str], wait: Wait, running: Running
) -> None:
    service = start_service(*flags)
    for _ in range(3):
        victim = service.workers[0]
        os.kill(victim, signal.SIGKILL)
        wait(lambda v=victim: not running(v), "it lives")  # type: ignore[misc] # a default argument
        wait(lambda: len(service.workers) == 2, f"not replaced: {service.log.read_text()}")
        assert all_sign(service) == 5


def test_a_worker_that_hangs_is_replaced_at_a_reload(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, running: Running
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    shutil.copy2(key_files["ed25519"], folder / "one")
    service = start_service("--key", folder)
    # One that was never ready has ten seconds for its first acknowledgement.
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: are_ready(service.address), "a worker is not ready")
    hung = service.workers[0]
    os.kill(hung, signal.SIGSTOP)
    shutil.copy2(key_files["p256"], folder / "two")
    begin = time.monotonic()
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: not running(hung), f"still there: {service.log.read_text()}")
    # 500 ms by contract; the rest is a machine that has other work. A start may take 10 s.
    assert time.monotonic() - begin < 9
    wait(lambda: len(service.workers) == 2, "not replaced")
    for _ in range(10):
        wait(lambda: len(service.ssh_add("-l").stdout.splitlines()) == 2, "the new key is missing")


@pytest.mark.long
def test_a_worker_that_hangs_at_rest_is_replaced_too(
    start_service: Start, key_files: dict[str, Path], wait: Wait, running: Running
) -> None:
    service = start_service("--key", key_files["ed25519"])
    wait(lambda: len(service.workers) == 2, "no workers")
    hung, other = service.workers
    os.kill(hung, signal.SIGSTOP)
    # Asked every ten seconds, with twenty to answer.
    wait(lambda: not running(hung), f"still there: {service.log.read_text()}")
    wait(lambda: len(service.workers) == 2, "not replaced")
    assert other in service.workers
    assert service.logged("it hangs")
    # Who stops all of them and lets them go on gets the same workers back.
    family = service.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(35)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    assert service.ssh_add("-T", f"{key_files['ed25519']}.pub").returncode == 0
    time.sleep(2)
    assert service.family() == family


def test_workers_end_with_their_supervisor(
    start_service: Start, flags: list[str], wait: Wait, running: Running
) -> None:
    service = start_service(*flags)
    family = service.family()
    service.process.kill()
    service.process.wait()
    wait(lambda: not any(map(running, family)), "somebody outlived the supervisor")
    # What it left behind does not hinder the next one.
    again = start_service(*flags)
    assert all_sign(again) == 5


def test_a_killed_zygote_is_replaced_and_makes_workers_again(
    start_service: Start, flags: list[str], wait: Wait, running: Running
) -> None:
    service = start_service(*flags)
    workers = service.workers
    os.kill(service.zygote, signal.SIGKILL)
    wait(lambda: service.logged("zygote lost"), "nobody saw it")
    os.kill(workers[0], signal.SIGKILL)
    wait(lambda: len(service.workers) == 1, "not replaced")
    assert all_sign(service) == 5
    assert service.stop() == 0
    wait(lambda: not any(map(running, workers)), "a worker outlived its agent")


def test_a_reporter_that_dies_with_the_zygote_is_made_by_the_next(
    start_service: Start, flags: list[str], wait: Wait
) -> None:
    service = start_service(*flags)
    control = control_path(service.address)
    rows = ask(control, "health", timeout_s=60)["processes"]
    (reporter,) = (row["pid"] for row in rows if row["name"] == "reporter")
    os.kill(service.process.pid, signal.SIGSTOP)
    os.kill(service.zygote, signal.SIGKILL)
    os.kill(reporter, signal.SIGKILL)
    os.kill(service.process.pid, signal.SIGCONT)
    wait(lambda: service.logged("zygote lost"), "nobody saw it")
    wait(lambda: is_listening(control), "no control socket any more")
    assert ask(control, "health", timeout_s=60)["workers_wanted"] == 2
    assert service.stop() == 0


def test_a_zygote_that_hangs_is_replaced(
    start_service: Start, flags: list[str], wait: Wait, running: Running
) -> None:
    service = start_service(*flags)
    hung, victim = service.zygote, service.workers[0]
    os.kill(hung, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    # The supervisor waits for it meanwhile; who asks waits too, and is answered.
    assert ask(control_path(service.address), "health", timeout_s=60)["workers_wanted"] == 2
    wait(lambda: not running(hung), "it hangs on")
    wait(lambda: service.log.read_text().count("cannot make a worker") >= 1, "not said")
    wait(lambda: len(service.workers) == 1, "no new worker")
    assert all_sign(service) == 5


def test_random_frames_never_bring_it_down(start_service: Start, flags: list[str]) -> None:
    service = start_service(*flags)
    workers = service.workers
    seeded = random.Random(2)
    for _ in range(150):
        with service.connect() as connected, suppress(ConnectionError):
            for _ in range(seeded.randint(1, 8)):
                connected.sendall(_garbage(seeded))
            connected.settimeout(0.01)
            with suppress(TimeoutError):
                connected.recv(65536)
    assert all_sign(service) == 5
    assert service.workers == workers


def _garbage(seeded: random.Random) -> bytes:
    """Frames right and wrong: known numbers with noise, lying lengths, plain noise.

    Not among them are 19 and 22: those obey noise, and drop or lock the keys.
    """
    noise = seeded.randbytes(seeded.randint(0, 200))
    number = bytes([seeded.choice([9, 11, 13, 17, 18, 20, 23, 25, 27, 200, 0])])
    kind = seeded.randrange(4)
    if kind == 0:
        return encode_frame(number + noise)
    if kind == 1:
        inner = seeded.choice([0, 1, 2**31, 2**32 - 1, len(noise)]).to_bytes(4, "big")
        return encode_frame(number + inner + noise)
    if kind == 2:
        return seeded.choice([0, 262145, 2**32 - 1]).to_bytes(4, "big") + noise
    return noise


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\xc8", b"\x05"),  # an unknown number
        (b"\x09", b"\x06"),  # forget SSH 1 keys
        (b"\x01", b"\x05"),  # an SSH 1 message
        (b"\x0b" + b"trailing", b"\x0c"),  # a list with trailing bytes
        (b"\x0d\x00\x00\x00\x09", b"\x05"),  # a sign request cut short
        (b"\x1b\x00\x00\x00\x05query", b"\x1d"),  # what extensions are served
        (b"\x1b\x00\x00\x00\x05other", b"\x05"),  # an extension that is not
    ],
)
def test_a_well_framed_request_gets_one_reply_and_the_connection_stays(
    start_service: Start, request_: bytes, reply: bytes
) -> None:
    service = start_service("--no-scan-default-dir", workers=1)
    with service.connect() as connected:
        for _ in range(3):
            connected.sendall(encode_frame(request_))
            assert _receive(connected)[:1] == reply


@pytest.mark.parametrize("length", [0, 262145, 2**32 - 1])
def test_an_impossible_length_closes_the_connection(start_service: Start, length: int) -> None:
    service = start_service("--no-scan-default-dir", workers=1)
    with service.connect() as connected:
        connected.sendall(encode_frame(LIST) + length.to_bytes(4, "big"))
        assert _receive(connected)[:1] == b"\x0c"
        assert connected.recv(1) == b""


def _receive(connected: socket.socket) -> bytes:
    """One reply's payload."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        more = connected.recv(65536)
        assert more, "hung up"
        data += more
    return data[4:]


def test_pipelined_requests_are_answered_in_order(start_service: Start, flags: list[str]) -> None:
    service = start_service(*flags)
    with AgentClient(str(service.address)) as client:
        keys = client.identities()
    # Slow and quick keys mixed with lists: only order tells the replies apart.
    asked = [seed % (len(keys) + 1) for seed in range(300)]
    turns = ClientTurns()
    sent = bytearray()
    for number, choice in enumerate(asked):
        if choice == len(keys):
            sent += turns.send(LIST)
        else:
            data = f"request {number}".encode()
            sent += turns.send(encode_request(SignRequest(keys[choice].blob, data, 4)))
    with service.connect() as connected:
        for number, (choice, payload) in enumerate(
            zip(asked, _exchange(connected, bytes(sent), turns, len(asked)), strict=True)
        ):
            reply = parse_reply(payload)
            if choice == len(keys):
                assert isinstance(reply, IdentitiesAnswer)
                continue
            assert isinstance(reply, SignResponse)
            key = parse_public_key(keys[choice].blob)
            verify_signature(key, reply.signature, f"request {number}".encode())


def _exchange(
    connected: socket.socket, to_send: bytes, turns: ClientTurns, count: int
) -> list[bytes]:
    """Write everything as fast as it is taken, and read all replies."""
    connected.setblocking(False)
    replies: list[bytes] = []
    while len(replies) < count:
        readable, writable, _ = select.select([connected], [connected] if to_send else [], [], 60)
        assert readable or writable, f"{len(replies)} replies, then nothing"
        if writable:
            to_send = to_send[connected.send(to_send) :]
        if readable:
            data = connected.recv(65536)
            assert data, "hung up"
            turns.receive_data(data)
            while isinstance(reply := turns.next_reply(), bytes):
                replies.append(reply)
    return replies


def test_requests_before_a_half_close_are_answered(start_service: Start, flags: list[str]) -> None:
    service = start_service(*flags)
    with AgentClient(str(service.address)) as client:
        rsa = next(key for key in client.identities() if key.comment == "rsa")
    request = encode_frame(encode_request(SignRequest(rsa.blob, b"data", 2)))
    with service.connect() as connected:
        connected.sendall(request * 100)
        connected.shutdown(socket.SHUT_WR)
        received = b""
        while data := connected.recv(65536):
            received += data
    assert received.count(b"rsa-sha2-256") == 100


def test_two_hundred_clients_at_once_share_the_workers(
    start_service: Start, flags: list[str], wait: Wait
) -> None:
    service = start_service(*flags)
    # One that is not ready yet leaves all of them to the other.
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: are_ready(service.address), "a worker is not ready")
    with AgentClient(str(service.address)) as client:
        key = next(key for key in client.identities() if key.comment == "ed25519")
    request = encode_frame(encode_request(SignRequest(key.blob, b"data")))
    with ExitStack() as stack:
        connections = [stack.enter_context(service.connect()) for _ in range(200)]
        for connected in connections:
            connected.sendall(request)
        for connected in connections:
            reply = parse_reply(_receive(connected))
            assert isinstance(reply, SignResponse)
        if os.geteuid() != 0:
            return  # processes that are not dumpable show their descriptors to root only
        counts = [_sockets_of(pid) for pid in service.workers]
        assert sum(counts) >= 200
        assert max(counts) <= 140, counts


def _sockets_of(pid: int) -> int:
    """Open descriptors of a process; the few that are no clients do not matter here."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_connections_over_the_limit_are_closed_at_once(start_service: Start, wait: Wait) -> None:
    service = start_service("--no-scan-default-dir", "--max-connections", "4", workers=1)
    with ExitStack() as stack:
        for _ in range(4):
            connected = stack.enter_context(service.connect())
            connected.sendall(encode_frame(LIST))
            assert _receive(connected)[:1] == b"\x0c"
        with service.connect() as one_more:
            assert one_more.recv(1) == b""
    # Room again once it has seen that others are gone.
    wait(lambda: service.ssh_add("-l").returncode == 1, "there is no room again")


def test_a_silent_connection_is_closed_after_the_idle_timeout(start_service: Start) -> None:
    service = start_service("--no-scan-default-dir", "--idle-timeout-ms", "300", workers=1)
    with service.connect() as silent, service.connect() as dribbling:
        dribbling.sendall(b"\0")
        assert silent.recv(1) == b""
        assert dribbling.recv(1) == b""


def test_a_client_that_does_not_read_is_cut_off_and_hinders_nobody(
    start_service: Start, flags: list[str]
) -> None:
    service = start_service(*flags, "--write-timeout-ms", "500", workers=1)
    with service.connect() as greedy:
        greedy.setblocking(False)
        end = time.monotonic() + 60
        with suppress(ConnectionError):
            while time.monotonic() < end:
                with suppress(BlockingIOError):
                    greedy.send(encode_frame(LIST) * 1000)
                time.sleep(0.02)
        assert time.monotonic() < end, "never cut off"
    assert all_sign(service) == 5
