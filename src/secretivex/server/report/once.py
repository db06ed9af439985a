"""One question and one answer a connection, for whoever connects to the desk.

Rule for editors: a client costs a bounded piece of memory and time, and there are so many at most:
anybody on the machine can connect to a loopback address, and the process has other descriptors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

TIMEOUT_S = 5.0
"""From the connection to the last byte of the answer, for whoever connects."""

MOST_CLIENTS = 64
"""At a time; the next is closed unheard."""

Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]
"""Reads the question; gives the answer, b"" for none."""


@dataclass(slots=True)
class Counter:
    """Serves the connections of one listener, as asyncio's servers call it."""

    respond: Respond
    timeout_s: float = TIMEOUT_S
    clients: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one, and see it gone."""
        self.clients += 1
        try:
            if self.clients <= MOST_CLIENTS:
                await self._serve(reader, writer)
        finally:
            self.clients -= 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self.timeout_s):
                writer.write(await self.respond(reader, writer))
                await writer.drain()
                # What the system has not taken yet waits for its client no longer than all else.
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            pass
