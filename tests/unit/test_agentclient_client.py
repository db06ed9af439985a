"""The clients against agents that misbehave, one scripted peer per test, for both kinds of client."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentclient.aio import AsyncAgentClient
from agentclient.client import AgentClient
from agentclient.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefused,
    AgentTimeout,
    AgentUnavailable,
)
from sshwire.agent.connection import encode_frame
from sshwire.agent.numbers import MAX_FRAME_BYTES, MAX_IDENTITIES
from sshwire.agent.replies import (
    ExtensionFailure,
    ExtensionResponse,
    Failure,
    IdentitiesAnswer,
    Identity,
    Reply,
    SignResponse,
    Success,
    encode_reply,
)
from sshwire.agent.requests import RemoveAllRequest
from sshwire.wire import encode_string

Play = Callable[[socket.socket], None]
Serve = Callable[[Play], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Listen, give the first connection to the script, and say where."""
    listener = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def start(play: Play) -> str:
        address = str(tmp_path / "agent.sock")
        listener.bind(address)
        listener.listen(4)

        def run() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(60)
                    play(connection)

        threads.append(threading.Thread(target=run))
        threads[0].start()
        return address

    yield start
    listener.close()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def answer(*replies: Reply | bytes) -> Play:
    """Read one request before each reply; bytes go out as they are."""

    def play(connection: socket.socket) -> None:
        for reply in replies:
            (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length, socket.MSG_WAITALL)
            raw = reply if isinstance(reply, bytes) else encode_frame(encode_reply(reply))
            connection.sendall(raw)
        connection.recv(1)

    return play


def blocking(address: str, timeout_s: float) -> tuple[Identity, ...]:
    with AgentClient(address, timeout_s=timeout_s) as client:
        return client.identities()


def overlapping(address: str, timeout_s: float) -> tuple[Identity, ...]:
    async def talk() -> tuple[Identity, ...]:
        async with AsyncAgentClient(address, timeout_s=timeout_s) as client:
            return await client.identities()

    return asyncio.run(talk())


BOTH = pytest.mark.parametrize("identities", [blocking, overlapping])
ListKeys = Callable[[str, float], tuple[Identity, ...]]


@BOTH
def test_reply_may_arrive_byte_by_byte(identities: ListKeys, serve: Serve) -> None:
    answer_bytes = encode_frame(encode_reply(IdentitiesAnswer((Identity(b"key", "me"),))))

    def play(connection: socket.socket) -> None:
        connection.recv(5)
        for value in answer_bytes:
            connection.send(bytes((value,)))
        connection.recv(1)

    assert identities(serve(play), 60) == (Identity(b"key", "me"),)


@BOTH
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        struct.pack(">I", MAX_FRAME_BYTES + 1),
        encode_frame(b"\x0b"),
        encode_frame(b"\x0c\0\0"),
        encode_frame(b"\x0c" + struct.pack(">I", MAX_IDENTITIES + 1)),
        encode_frame(encode_reply(SignResponse(b"sig"))),
        encode_frame(encode_reply(Success())),
    ],
)
def test_what_is_not_an_answer_to_the_question_is_a_protocol_error(
    identities: ListKeys, serve: Serve, raw: bytes
) -> None:
    with pytest.raises(AgentProtocolError):
        identities(serve(answer(raw)), 60)


@BOTH
def test_failure_is_a_refusal(identities: ListKeys, serve: Serve) -> None:
    with pytest.raises(AgentRefused, match="refused to list"):
        identities(serve(answer(Failure())), 60)


@BOTH
def test_silence_is_a_timeout(identities: ListKeys, serve: Serve) -> None:
    with pytest.raises(AgentTimeout):
        identities(serve(lambda connection: void(connection.recv(100), connection.recv(1))), 0.2)


def void(*_values: object) -> None:
    """Forget what was read."""


@BOTH
def test_end_of_stream_is_unavailable(identities: ListKeys, serve: Serve) -> None:
    with pytest.raises(AgentUnavailable, match="closed"):
        identities(serve(lambda connection: void(connection.recv(100))), 60)


def test_data_that_nobody_asked_for_ends_the_connection(serve: Serve) -> None:
    address = serve(answer(encode_frame(encode_reply(IdentitiesAnswer(()))) + b"\0", Failure()))
    with AgentClient(address, timeout_s=60) as client:
        assert client.identities() == ()
        with pytest.raises(AgentError):
            client.identities()


def test_request_that_no_agent_reads_is_not_sent(serve: Serve) -> None:
    with AgentClient(serve(answer(IdentitiesAnswer(()))), timeout_s=60) as client:
        with pytest.raises(AgentProtocolError, match="cannot be sent"):
            client.sign(b"key", bytes(MAX_FRAME_BYTES))
        assert client.identities() == ()


def test_success_alone_is_enough_where_nothing_comes_back(serve: Serve) -> None:
    with AgentClient(serve(answer(Success(), Failure())), timeout_s=60) as client:
        client.perform(RemoveAllRequest())
        with pytest.raises(AgentRefused):
            client.perform(RemoveAllRequest())


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        (ExtensionResponse("query", encode_string(b"a@b") + encode_string(b"c@d")), ("a@b", "c@d")),
        (Success(encode_string(b"a@b")), ("a@b",)),
        (Failure(), ()),
        (ExtensionFailure(), ()),
    ],
)
def test_extensions_are_read_in_both_dialects(
    reply: Reply, names: tuple[str, ...], serve: Serve
) -> None:
    with AgentClient(serve(answer(reply)), timeout_s=60) as client:
        assert client.extensions() == names


@pytest.mark.parametrize("reply", [ExtensionResponse("other"), Success(b"\0"), SignResponse(b"")])
def test_malformed_extensions_are_a_protocol_error(reply: Reply, serve: Serve) -> None:
    with (
        AgentClient(serve(answer(reply)), timeout_s=60) as client,
        pytest.raises(AgentProtocolError),
    ):
        client.extensions()


def test_closed_clients_say_so(tmp_path: Path) -> None:
    with pytest.raises(AgentUnavailable, match="closed"):
        AgentClient(str(tmp_path)).identities()
    with pytest.raises(AgentUnavailable, match="closed"):
        asyncio.run(AsyncAgentClient(str(tmp_path)).identities())


def test_everybody_who_waits_learns_that_the_connection_is_gone(serve: Serve) -> None:
    address = serve(lambda connection: void(connection.recv(10)))

    async def talk() -> list[object]:
        async with AsyncAgentClient(address, timeout_s=60) as client:
            waiting = (client.identities() for _ in range(5))
            found = await asyncio.gather(*waiting, return_exceptions=True)
            with pytest.raises(AgentUnavailable):
                await client.identities()
            return list(found)

    assert {type(one) for one in asyncio.run(talk())} == {AgentUnavailable}


@pytest.mark.parametrize("identities", [blocking, overlapping])
def test_full_backlog_is_waited_for(identities: ListKeys, tmp_path: Path) -> None:
    address = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(0)
        waiting = []
        with suppress(BlockingIOError):
            while True:
                one = socket.socket(socket.AF_UNIX)
                waiting.append(one)
                one.setblocking(False)
                one.connect(address)
        with pytest.raises(AgentUnavailable, match="no new connections"):
            identities(address, 0.1)

        def serve_all() -> None:
            for _ in range(len(waiting)):
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    if connection.recv(5):
                        connection.sendall(encode_frame(encode_reply(IdentitiesAnswer(()))))
                        return

        for one in waiting:
            one.close()
        threading.Timer(0.1, serve_all).start()
        assert identities(address, 60) == ()
