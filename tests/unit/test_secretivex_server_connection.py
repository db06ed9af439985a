"""A connection as bytes in and bytes out: order, bounds and endings, without a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from secretivex.context.bindings import Bindings
from secretivex.engine import Change, Reply
from secretivex.metrics.cells import Cells
from secretivex.peer import Peer
from secretivex.server.lanes.turn import Turn
from secretivex.server.sockets.memory import Memory
from secretivex.server.worker.connection import BATCH_FRAMES, MAX_TURNS, Connection
from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import RemoveRequest

ME = Peer(1000, 1000)


class FakeHost:
    """Has a signature made for b"s...", a change for b"c..."; all else is answered by an echo in capitals.

    After b"b..." the answer to everything is b"bound".
    """

    by_caller: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.clock = 0.0
        self.queued: list[tuple[bytes, Turn]] = []
        self.changes: list[Turn] = []
        self.callbacks: list[Callable[[], None]] = []
        self.gone = 0
        self.arrival_s = 0.0
        self.memory = Memory(Cells(1).meter(0))
        self.memory.max_bytes = 10**6

    def answer(
        self, data: bytes, _peer: Peer, bindings: Bindings, turn: Turn
    ) -> Reply | Change | None:
        if data.startswith(b"b"):
            attempted = replace(bindings, is_attempted=True)
            return Reply(encode_frame(data.upper()), "ok", attempted)
        if bindings.is_attempted:
            return Reply(encode_frame(b"bound"), "ok")
        if data.startswith(b"c"):
            return Change(RemoveRequest(data))
        if data.startswith(b"s"):
            self.queued.append((data, turn))
            return None
        return Reply(encode_frame(data.upper()), "ok")

    def change(self, change: Change, turn: Turn) -> None:
        assert change.request == RemoveRequest(b"c")
        self.changes.append(turn)

    def identify(self, peer: Peer, connected: socket.socket) -> Peer:
        raise NotImplementedError

    def now(self) -> float:
        return self.clock

    def soon(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def go_on(self) -> None:
        while self.callbacks:
            self.callbacks.pop(0)()

    def made(self, _connection: Connection) -> None:
        pass

    def lost(self, _connection: Connection) -> None:
        self.gone += 1

    def sign(self, which: int = 0) -> None:
        data, turn = self.queued.pop(which)
        turn.owner.fill(turn, encode_frame(data.upper()))


class FakeTransport(asyncio.Transport):
    """Remembers what is written and asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._reads = True
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def reads(self) -> bool:
        return self._reads

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = True


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def connection(host: FakeHost, transport: FakeTransport) -> Connection:
    made = Connection(host, ME, 1000)
    made.connection_made(transport)
    return made


def frames(*payloads: bytes) -> bytes:
    return b"".join(map(encode_frame, payloads))


def test_however_the_stream_is_cut_the_replies_are_the_same(host: FakeHost) -> None:
    stream = frames(b"one", b"two", b"three")
    for size in range(1, len(stream) + 1):
        transport = FakeTransport()
        connection = Connection(host, ME, 1000)
        connection.connection_made(transport)
        for start in range(0, len(stream), size):
            connection.data_received(stream[start : start + size])
        assert transport.written == frames(b"ONE", b"TWO", b"THREE")


def test_a_quick_reply_waits_for_the_slow_one_before_it(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(b"s1", b"quick", b"s2"))
    host.sign(1)
    assert transport.written == b""
    host.sign(0)
    assert transport.written == frames(b"S1", b"QUICK", b"S2")


def test_requests_beyond_the_limit_wait_and_reading_stops(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(*(b"s" for _ in range(MAX_TURNS + 10))))
    host.go_on()
    assert len(host.queued) == MAX_TURNS
    assert not transport.reads()
    while host.queued:
        host.sign()
    host.go_on()
    assert transport.reads()
    assert transport.written == frames(*(b"S" for _ in range(MAX_TURNS + 10)))


def test_a_client_that_does_not_read_is_not_asked_for_more(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    host.clock = 5.0
    connection.pause_writing()
    assert connection.blocked_since_s == 5.0
    assert not transport.reads()
    assert not connection.is_quiet
    connection.resume_writing()
    assert transport.reads()
    assert connection.is_quiet


@pytest.mark.parametrize("length", [0, 1001, 2**32 - 1])
def test_an_impossible_length_ends_it_after_the_replies_that_are_due(
    connection: Connection, transport: FakeTransport, length: int
) -> None:
    connection.data_received(frames(b"one") + length.to_bytes(4, "big") + b"rest")
    assert transport.written == frames(b"ONE")
    assert transport.is_closing()
    connection.data_received(frames(b"more"))
    assert transport.written == frames(b"ONE")


def test_after_end_of_file_what_was_asked_is_answered_then_it_closes(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(b"s1", b"last") + b"\0\0")
    assert connection.eof_received()
    host.sign()
    assert transport.written == frames(b"S1", b"LAST")
    assert transport.is_closing()


def test_end_of_file_without_a_request_in_hand_closes_at_once(connection: Connection) -> None:
    assert not connection.eof_received()


def test_finish_takes_no_more_and_closes_after_the_last_reply(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(b"s1"))
    connection.finish()
    assert not transport.is_closing()
    connection.data_received(frames(b"late"))
    host.sign()
    assert transport.written == frames(b"S1")
    assert transport.is_closing()


def test_a_lost_connection_drops_its_jobs(connection: Connection, host: FakeHost) -> None:
    connection.data_received(frames(b"s1"))
    connection.connection_lost(None)
    assert host.queued[0][1].is_dropped
    assert host.gone == 1


def test_quiet_time_runs_from_the_last_reply_and_not_from_dribbled_bytes(
    connection: Connection, host: FakeHost
) -> None:
    host.clock = 3.0
    connection.data_received(frames(b"one"))
    host.clock = 9.0
    connection.data_received(b"\0")
    assert connection.quiet_since_s == 3.0


def test_a_change_waits_for_what_came_before_it_and_holds_up_what_follows(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(b"s1", b"c", b"after"))
    assert host.changes == []
    host.sign()
    (turn,) = host.changes
    assert transport.written == frames(b"S1")
    connection.data_received(frames(b"later"))
    assert not transport.reads()
    turn.owner.fill(turn, encode_frame(b"DONE"))
    assert transport.written == frames(b"S1", b"DONE", b"AFTER", b"LATER")
    assert transport.reads()


def test_a_client_that_leaves_takes_a_change_that_was_not_begun_with_it(
    connection: Connection, host: FakeHost
) -> None:
    connection.data_received(frames(b"s1", b"c"))
    connection.connection_lost(None)
    host.sign()
    assert host.changes == []


def test_a_bind_holds_for_what_follows_it_and_for_no_other_connection(host: FakeHost) -> None:
    first, second = FakeTransport(), FakeTransport()
    bound, other = Connection(host, ME, 64), Connection(host, ME, 64)
    bound.connection_made(first)
    other.connection_made(second)
    bound.data_received(encode_frame(b"x") + encode_frame(b"b") + encode_frame(b"x"))
    other.data_received(encode_frame(b"x"))
    assert first.written == encode_frame(b"X") + encode_frame(b"B") + encode_frame(b"bound")
    assert second.written == encode_frame(b"X")


def test_a_flood_lets_others_have_their_turn_and_loses_no_request(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    flood = [f"n{number}".encode() for number in range(3 * BATCH_FRAMES + 1)]
    connection.data_received(frames(*flood))
    for batch in range(1, 4):
        assert transport.written == frames(*(one.upper() for one in flood[: batch * BATCH_FRAMES]))
        assert not transport.reads()
        (callback,) = host.callbacks
        host.callbacks.clear()
        callback()
    assert transport.written == frames(*(one.upper() for one in flood))
    assert transport.reads()
    assert not host.callbacks


def test_a_flood_and_an_end_of_file_is_answered_to_its_end(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(*[b"x"] * (2 * BATCH_FRAMES)))
    assert connection.eof_received()
    assert not transport.is_closing()
    host.go_on()
    assert transport.written == frames(*[b"X"] * (2 * BATCH_FRAMES))
    assert transport.is_closing()


def test_a_flood_that_hangs_up_is_answered_no_more(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    connection.data_received(frames(*[b"x"] * (2 * BATCH_FRAMES)))
    connection.connection_lost(None)
    host.go_on()
    assert transport.written == frames(*[b"X"] * BATCH_FRAMES)


def test_what_comes_after_the_end_is_not_kept(connection: Connection, host: FakeHost) -> None:
    connection.data_received(frames(b"s1"))
    connection.finish()
    for _ in range(3):
        connection.data_received(b"\0\0\3\0half of a frame")
    assert connection._frames is None


def test_half_a_message_that_there_is_no_memory_for_ends_its_connection(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    host.memory.max_bytes = 10
    connection.data_received(b"\0\0\0\x40half")
    assert host.memory.buffered_bytes == 8
    connection.data_received(b"more and more")
    assert transport.is_closing()
    assert host.memory.buffered_bytes == 0


def test_a_request_that_there_is_no_memory_for_waits(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    host.memory.held_bytes = host.memory.max_bytes
    connection.data_received(frames(b"one"))
    assert transport.written == b""
    assert not transport.reads()
    host.memory.held_bytes = 0
    host.memory.feed()
    assert transport.written == frames(b"ONE")
    assert transport.reads()


def test_requests_one_by_one_are_bounded_as_a_flood_is(
    connection: Connection, host: FakeHost, transport: FakeTransport
) -> None:
    for _ in range(MAX_TURNS + 3):
        connection.data_received(frames(b"s"))
    assert len(host.queued) == MAX_TURNS
    assert not transport.reads()
