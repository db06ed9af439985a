"""A worker as a process of its own: its loop, its end of the private channel, its end.

Rule for editors: a worker never outlives its channel; its last word is `os._exit`, for it was
forked and must not run its parent's clean-up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

from secretivex.engine import ChangeRequest
from secretivex.hardening import lock_memory, overwrite_freed_memory
from secretivex.server.confirm.asked import Asked, encode_asked
from secretivex.server.control import (
    Kind,
    MessageReader,
    encode_message,
    encode_number,
    encode_ticket,
    parse_number,
    parse_ticket,
)
from secretivex.server.state import parse_state
from secretivex.server.worker.changes import Ask
from secretivex.server.worker.serving import Worker
from secretivex.server.worker.shared import Shared
from secretivex.stores.token.loaded import LoadedModule, encode_loaded_module
from sshwire.agent.requests import encode_request

LOG = logging.getLogger("secretivex.server")


TOKENS_END_S = 0.3
"""Time for threads that wait at a token to see that they are to end, and to end their helpers."""


def new_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class ControlProtocol(asyncio.Protocol):
    """The worker's end of the channel; `closed` is done when the supervisor is gone."""

    _transport: asyncio.WriteTransport

    def __init__(self, make_worker: Callable[[Ask], Worker], closed: asyncio.Future[None]) -> None:
        self.worker = make_worker(self.ask)
        self.worker.confirming.people = self
        self._closed = closed
        self._reader = MessageReader()

    def ask(self, ticket: int, request: ChangeRequest | LoadedModule) -> None:
        """Pass a change on to the supervisor."""
        if isinstance(request, LoadedModule):
            kind, body = Kind.MODULE, encode_loaded_module(request)
        else:
            kind, body = Kind.CHANGE, encode_request(request)
        self._transport.write(encode_message(kind, encode_ticket(ticket, body)))

    def ask_people(self, ticket: int, asked: Asked) -> None:
        """Have a person asked, by whoever keeps the board."""
        body = encode_ticket(ticket, encode_asked(asked))
        self._transport.write(encode_message(Kind.QUESTION, body))

    def forget_question(self, ticket: int) -> None:
        """Nobody waits for it any more."""
        self._transport.write(encode_message(Kind.FORGET, encode_ticket(ticket, b"")))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop first."""
        # A cast, for uvloop's transports have asyncio's methods and not its classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Obey; what goes wrong ends the worker, and the supervisor makes a new one.

        Overwriting costs time with each block, so a worker does it here alone, where keys arrive.
        """
        overwrite_freed_memory(is_on=True)
        try:
            for kind, body in self._reader.receive(data):
                self._obey(kind, body)
        except Exception:
            LOG.exception("a worker cannot apply what it was told")
            self._end()
        finally:
            overwrite_freed_memory(is_on=False)

    def _obey(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.STATE:
            state = parse_state(body)
            self.worker.apply(state)
            self._transport.write(encode_message(Kind.ACKNOWLEDGE, encode_number(state.generation)))
        elif kind is Kind.OUTCOME:
            ticket, word = parse_ticket(body)
            self.worker.changes.end(ticket, word.decode())
        elif kind is Kind.VERDICT:
            ticket, word = parse_ticket(body)
            self.worker.confirming.end(ticket, word.decode())
        elif kind is Kind.PULSE:
            self._transport.write(encode_message(Kind.ALIVE))
        elif kind is Kind.DRAIN:
            self.worker.drain(parse_number(body) / 1000)

    def eof_received(self) -> None:
        """The supervisor closed its end."""
        self._end()

    def connection_lost(self, _error: Exception | None) -> None:
        """The channel broke."""
        self._end()

    def _end(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


def run_worker(channel: socket.socket, shared: Shared, number: int) -> None:
    """Serve until told to drain or the channel closes; does not return.

    Signals stay ignored, as the zygote left them: the supervisor decides what they mean.
    """
    status = 1
    try:
        if lock_memory(shared.memory_lock).is_failed:
            raise OSError("memory cannot be locked")
        overwrite_freed_memory(is_on=False)
        loop = new_loop()
        loop.run_until_complete(_serve(loop, channel, shared, number))
        status = 0
    except BaseException:
        LOG.exception("a worker failed")
    finally:
        sys.stderr.flush()
        os._exit(status)


async def _serve(
    loop: asyncio.AbstractEventLoop,
    channel: socket.socket,
    shared: Shared,
    number: int,
) -> None:
    closed: asyncio.Future[None] = loop.create_future()
    protocol = ControlProtocol(partial(Worker, loop, shared, number), closed)
    channel.setblocking(False)
    await loop.create_unix_connection(lambda: protocol, sock=channel)
    await asyncio.wait({closed, protocol.worker.drained}, return_when=asyncio.FIRST_COMPLETED)
    protocol.worker.close()
    if protocol.worker.has_tokens_at_work:
        await asyncio.sleep(TOKENS_END_S)
