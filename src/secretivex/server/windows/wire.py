"""One client of a pipe as a transport: two threads that wait, so that the loop need not.

One thread reads, one writes; everything else happens on the loop. Rule for editors: a thread touches
nothing but the pipe, its queue and `call_soon_threadsafe`; a client that does not read costs
`MAX_QUEUED_BYTES` and no other client anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from secretivex.server.sockets.wire import READ_BYTES, Receiver
from secretivex.server.windows.port import PipeInstance

MAX_QUEUED_BYTES = 64 * 1024
"""Replies that wait in the queue before the receiver is told to pause."""


class PipeWire(asyncio.Transport):
    """A pipe's end; `first` are the bytes that were read to learn who the client is."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: PipeInstance,
        receiver: Receiver,
        first: bytes,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._pipe = pipe
        self._receiver = receiver
        self._first = first
        self.received: Callable[[], None] = lambda: None
        self.ended: Callable[[], None] = lambda: None
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._queued_bytes = 0
        self._may_read = threading.Event()
        self._may_read.set()
        self._is_closing = self._is_lost = self._is_blocked = False

    def open(self) -> None:
        """Begin: on the loop."""
        self._receiver.connection_made(self)
        for work, name in ((self._read_on, "pipe-read"), (self._write_on, "pipe-write")):
            threading.Thread(target=work, name=name, daemon=True).start()

    # In threads of their own.

    def _read_on(self) -> None:
        data = self._first
        while data:
            # The loop takes a piece before the next is read: what it does not take is not read.
            taken = threading.Event()
            if not self._call(self._take, data, taken):
                return
            taken.wait()
            self._may_read.wait()
            try:
                data = self._pipe.read(READ_BYTES)
            except OSError:
                data = b""
        self._call(self._end_reading)

    def _write_on(self) -> None:
        while (data := self._queue.get()) is not None:
            try:
                self._pipe.write(data)
            except OSError:
                self._call(self.abort)
                return
            if not self._call(self._wrote, len(data)):
                return
        self._call(self.abort)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> bool:
        """Have the loop do it; False if there is no loop any more."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

    # On the loop.

    def _take(self, data: bytes, taken: threading.Event) -> None:
        if not self._is_lost and not self._is_closing:
            self.received()
            self._receiver.data_received(data)
        taken.set()

    def _end_reading(self) -> None:
        if not self._is_lost and not self._receiver.eof_received():
            self.close()

    def _wrote(self, size: int) -> None:
        self._queued_bytes -= size
        if self._is_blocked and not self._queued_bytes and not self._is_lost:
            self._is_blocked = False
            self._receiver.resume_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue it for the thread that writes."""
        if self._is_lost or self._is_closing:
            return
        self._queued_bytes += len(data)
        self._queue.put(bytes(data))
        if self._queued_bytes > MAX_QUEUED_BYTES and not self._is_blocked:
            self._is_blocked = True
            self._receiver.pause_writing()

    def pause_reading(self) -> None:
        """Leave what the client sends in the pipe."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._may_read.set()

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._is_closing or self._is_lost

    def close(self) -> None:
        """End once what was written has gone out."""
        if not self.is_closing():
            self._is_closing = True
            self._queue.put(None)

    def abort(self) -> None:
        """End now, whatever a thread waits for."""
        if self._is_lost:
            return
        self._is_lost = True
        self._queue.put(None)
        self._may_read.set()
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._receiver.connection_lost(None)
        self.ended()

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        """Nothing: there is no socket."""
        return default
