"""Clients that pipeline, stop half way, dribble or never read: served, and hindering nobody."""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from agentclient.aio import AsyncAgentClient
from agentclient.client import AgentClient
from sshwire.agent.connection import NEED_DATA, ClientTurns, encode_frame
from sshwire.agent.replies import SignResponse, parse_reply
from sshwire.agent.requests import ListRequest, SignRequest, encode_request
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
LIST = encode_frame(encode_request(ListRequest()))
MAX_UNREAD_BYTES = 1 << 20
"""More than a client that does not read can make the agent take, both sockets' buffers included."""


def connect(agent: Any) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(60)
    connected.connect(agent.address)
    return connected


def blobs(agent: Any) -> dict[str, bytes]:
    with AgentClient(agent.address) as client:
        return {key.comment: key.blob for key in client.identities()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_sign_requests_in_one_write_are_answered_in_order(agent: Any, kind: str) -> None:
    blob = blobs(agent)[kind]
    turns = ClientTurns()
    messages = [f"message {number}".encode() for number in range(100)]
    sent = b"".join(turns.send(encode_request(SignRequest(blob, data, 2))) for data in messages)
    replies: list[bytes] = []
    with connect(agent) as connected:
        connected.sendall(sent)
        while len(replies) < len(messages):
            turns.receive_data(connected.recv(65536))
            while (reply := turns.next_reply()) is not NEED_DATA:
                replies.append(reply)
    for data, payload in zip(messages, replies, strict=True):
        answer = parse_reply(payload)
        assert isinstance(answer, SignResponse)
        verify_signature(parse_public_key(blob), answer.signature, data)


def test_ten_thousand_lists_in_one_write_are_all_answered(agent: Any) -> None:
    count = 10_000
    with connect(agent) as connected:
        sender = threading.Thread(target=connected.sendall, args=(LIST * count,))
        sender.start()
        turns = ClientTurns()
        for _ in range(count):
            turns.send(encode_request(ListRequest()))
        while count:
            received = connected.recv(65536)
            assert received, f"hung up with {count} replies to go"
            turns.receive_data(received)
            while turns.next_reply() is not NEED_DATA:
                count -= 1
        sender.join()


def test_overlapping_requests_each_get_their_own_reply(agent: Any) -> None:
    keys = list(blobs(agent).values())

    async def story() -> list[bytes]:
        async with AsyncAgentClient(agent.address) as client:
            return await asyncio.gather(
                *(client.sign(keys[n % len(keys)], b"data %d" % n) for n in range(200))
            )

    for number, signature in enumerate(asyncio.run(story())):
        key = parse_public_key(keys[number % len(keys)])
        verify_signature(key, signature, b"data %d" % number)


def test_a_half_closed_client_gets_all_its_replies_and_then_the_end(agent: Any) -> None:
    request = encode_frame(encode_request(SignRequest(blobs(agent)["rsa"], b"data", 4)))
    with connect(agent) as connected:
        connected.sendall(request * 20 + LIST[:-1])
        connected.shutdown(socket.SHUT_WR)
        received = b""
        while data := connected.recv(65536):
            received += data
    assert received.count(b"rsa-sha2-512") == 20


def test_a_client_that_never_reads_is_not_read_for_ever(agent: Any) -> None:
    # The least reply there is, for it fills what may wait for the client last.
    unknown = encode_frame(b"\xc8")
    taken = 0
    with connect(agent) as connected:
        connected.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError):
            while taken <= MAX_UNREAD_BYTES:
                taken += connected.send(unknown * 4096)
    assert taken <= MAX_UNREAD_BYTES


def stay_silent(connected: socket.socket) -> None:
    """Ask for nothing."""


def dribble(connected: socket.socket) -> None:
    """Begin a request that does not end."""
    connected.sendall(b"\0\0\xff\xff\x0d")


def half_close(connected: socket.socket) -> None:
    """Say that there is no more to come, and leave what comes back unread."""
    connected.sendall(LIST * 3)
    connected.shutdown(socket.SHUT_WR)


def never_read(connected: socket.socket) -> None:
    """Ask as much as is taken, and read nothing."""
    connected.setblocking(False)
    with suppress(BlockingIOError, ConnectionError):
        while True:
            connected.send(LIST * 100)


@pytest.mark.parametrize("behave", [stay_silent, dribble, half_close, never_read])
def test_odd_clients_do_not_slow_others_down(
    agent: Any, behave: Callable[[socket.socket], None]
) -> None:
    alone = list_s(agent)
    with ExitStack() as stack:
        for _ in range(60):
            behave(stack.enter_context(connect(agent)))
        among = list_s(agent)
    # The machine has other work too; a client that had to wait for an odd one waits for seconds.
    assert among <= 10 * alone + 0.05, f"{alone * 1e3:.2f} ms alone, {among * 1e3:.2f} ms among"


def list_s(agent: Any) -> float:
    """Median time of connecting and listing."""
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        with AgentClient(agent.address) as client:
            assert len(client.identities()) == len(KINDS)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def test_a_request_a_byte_at_a_time_is_answered_while_others_are_served(agent: Any) -> None:
    request = encode_frame(encode_request(SignRequest(blobs(agent)["p256"], b"data")))
    with connect(agent) as slow:
        for byte in request:
            slow.sendall(bytes([byte]))
            with AgentClient(agent.address) as client:
                assert len(client.identities()) == len(KINDS)
        assert slow.recv(65536)[4:5] == b"\x0e"
