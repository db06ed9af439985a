"""Requests to stores' processes that are under way: sockets of the worker's own loop, and no thread.

One connection is one request, so whichever process of a store is free takes it. Rule for editors:
nothing here waits, each call ends exactly once, and never before `begin` has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial

from secretivex.server.sockets.watch import HANGS_UP, READS, WRITES, Watch
from secretivex.stores.hosting.asking import Answer, cut_message, parse_answers
from secretivex.stores.hosting.endpoint import RETRIES, SIGN_S, crashed, late
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.waiting import POLL_S, Wanted

_READ_BYTES = 65536

Ended = Callable[[tuple[Answer, ...] | None], None]
"""Told what became of each signature; None if the processes ended over a request for several."""


class Call:
    """A request for `count` signatures, and how far it has come."""

    __slots__ = (
        *("address", "connection", "count", "end_s", "ended"),
        *("is_wanted", "received", "request", "tries", "unsent"),
    )

    def __init__(
        self, address: str, request: bytes, count: int, is_wanted: Wanted, ended: Ended
    ) -> None:
        self.address = address
        self.request = request
        self.count = count
        self.is_wanted = is_wanted
        self.ended = ended
        self.connection: socket.socket | None = None
        self.unsent = memoryview(request)
        self.received = bytearray()
        # What a process may have ended over is asked for again by itself alone.
        self.tries = RETRIES + 1 if count == 1 else 1
        self.end_s = 0.0


class Calls:
    """The calls of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._watch = watch
        self._clock = clock
        self._open: set[Call] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def begin(self, call: Call) -> None:
        """Ask; `ended` is called once, later."""
        call.end_s = self._clock() + SIGN_S
        self._open.add(call)
        self._connect(call)
        if self._sweep is None:
            self._sweep = self._loop.call_later(POLL_S, self._look_after)

    def _connect(self, call: Call) -> None:
        """Send the request; what cannot be connected is looked after again soon."""
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect(call.address)
        except BlockingIOError:
            connection.close()  # so many wait there that the system takes no more
            return
        except OSError:
            connection.close()
            call.tries -= 1
            return
        call.connection = connection
        call.unsent = memoryview(call.request)
        call.received.clear()
        self._watch.add(connection.fileno(), partial(self._ready, call))
        self._send(call)

    def _ready(self, call: Call, mask: int) -> None:
        if call.unsent and mask & WRITES:
            self._send(call)
        if mask & (READS | HANGS_UP):
            self._read(call)

    def _send(self, call: Call) -> None:
        if call.connection is None:
            return
        had_all = not call.unsent
        with contextlib.suppress(OSError):  # its end shows when it is read from
            while call.unsent:
                call.unsent = call.unsent[call.connection.send(call.unsent) :]
        if call.unsent or not had_all:
            wanted = READS | WRITES if call.unsent else READS
            self._watch.change(call.connection.fileno(), wanted)

    def _read(self, call: Call) -> None:
        if call.connection is None:
            return
        try:
            data = call.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        call.received += data
        try:
            message = cut_message(call.received)
            if message is not None:
                answers = parse_answers(message, call.count)
                if answers is not None:
                    self._end(call, answers)
                    return
            elif data:
                return
        except TokenError as error:
            self._refuse(call, error)
            return
        self._hang_up(call)
        call.tries -= 1
        self._ask_again(call)

    def _ask_again(self, call: Call) -> None:
        if call.tries > 0:
            self._connect(call)
        elif call.count > 1:
            self._end(call, None)
        else:
            self._refuse(call, crashed())

    def _look_after(self) -> None:
        """End what nobody wants any more or took too long, and ask again who was not there."""
        self._sweep = None
        now = self._clock()
        for call in tuple(self._open):
            if not call.is_wanted():
                self._refuse(call, TokenError("no_longer_wanted", "the client went away"))
            elif now >= call.end_s:
                self._refuse(call, late())
            elif call.connection is None:
                self._ask_again(call)
        if self._open and self._sweep is None:
            self._sweep = self._loop.call_later(POLL_S, self._look_after)

    def _refuse(self, call: Call, error: TokenError) -> None:
        self._end(call, (Answer(error),) * call.count)

    def _end(self, call: Call, answers: tuple[Answer, ...] | None) -> None:
        self._hang_up(call)
        self._open.discard(call)
        call.ended(answers)

    def _hang_up(self, call: Call) -> None:
        connection, call.connection = call.connection, None
        if connection is not None:
            self._watch.drop(connection.fileno())
            connection.close()

    def close(self) -> None:
        """End every call: nobody waits any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for call in tuple(self._open):
            self._refuse(call, TokenError("no_longer_wanted", "the agent ends"))
