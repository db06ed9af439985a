"""A connected socket as a transport: what is written goes out whole and in order, or is kept."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from secretivex.server.sockets.watch import Watch
from secretivex.server.sockets.wire import Wire


class Ear:
    """Remembers what a wire tells it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.data = b""
        self._news = asyncio.Event()

    async def wait(self, word: str) -> None:
        """Until it has heard it."""
        while word not in self.heard:
            self._news.clear()
            await self._news.wait()

    def _hear(self, word: str) -> None:
        self.heard.append(word)
        self._news.set()

    def connection_made(self, _transport: object, /) -> None:
        self._hear("made")

    def data_received(self, data: bytes, /) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self._hear("end")
        return False

    def pause_writing(self) -> None:
        self._hear("pause")

    def resume_writing(self) -> None:
        self._hear("resume")

    def connection_lost(self, _error: Exception | None, /) -> None:
        self._hear("lost")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and ours, with little room in between."""
    theirs, ours = socket.socketpair()
    for end in (theirs, ours):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with theirs, ours:
        yield theirs, ours


def play(ours: socket.socket, story: Callable[[Wire, Ear], Awaitable[None]]) -> None:
    """Tell a story on a loop of its own."""

    async def told() -> None:
        watch = Watch(asyncio.get_running_loop())
        ear = Ear()
        wire = Wire(asyncio.get_running_loop(), watch, ours, ear)
        wire.open()
        try:
            async with asyncio.timeout(30):
                await story(wire, ear)
        finally:
            watch.close()

    asyncio.run(told())


async def read_all(theirs: socket.socket, count: int) -> bytes:
    """What the client gets, read as it comes."""
    got = b""
    while len(got) < count:
        try:
            got += theirs.recv(65536)
        except BlockingIOError:
            await asyncio.sleep(0)
    return got


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_replies_that_a_client_does_not_read_wait_and_arrive_whole(
    ends: tuple[socket.socket, socket.socket], parts: int
) -> None:
    theirs, ours = ends
    sent = [bytes((number,)) * 300_000 for number in range(parts)]

    async def story(wire: Wire, ear: Ear) -> None:
        for part in sent:
            wire.write(part)
        await ear.wait("pause")
        assert await read_all(theirs, 300_000 * parts) == b"".join(sent)
        await ear.wait("resume")
        wire.write(b"after")
        assert await read_all(theirs, 5) == b"after"
        assert ear.heard == ["made", "pause", "resume"]

    play(ours, story)


def test_a_socket_that_is_full_keeps_even_a_short_reply(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    theirs, ours = ends
    fill = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            fill += ours.send(bytes(4096))

    async def story(wire: Wire, ear: Ear) -> None:
        wire.write(b"short")
        await ear.wait("pause")
        wire.write(b" and more")
        assert (await read_all(theirs, fill + 14))[fill:] == b"short and more"

    play(ours, story)


def test_what_was_written_goes_out_before_the_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    theirs, ours = ends

    async def story(wire: Wire, ear: Ear) -> None:
        wire.write(b"x" * 300_000)
        wire.close()
        assert len(await read_all(theirs, 300_000)) == 300_000
        await ear.wait("lost")
        assert theirs.recv(1) == b""

    play(ours, story)


def test_a_short_reply_goes_out_before_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = ends

    async def story(wire: Wire, ear: Ear) -> None:
        wire.write(b"bye")
        wire.close()
        assert await read_all(theirs, 3) == b"bye"
        await ear.wait("lost")

    play(ours, story)
