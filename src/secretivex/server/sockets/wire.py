"""One connected socket as a transport: what `asyncio` gives, without its task and its copies.

Rule for editors: a socket that can say nothing more, or that nobody listens to, is watched no more,
for it is ready for ever.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from secretivex.server.sockets.watch import HANGS_UP, READS, WRITES, Watch

READ_BYTES = 65_536
"""Longest read, and longest run of short replies that is sent as one."""

_DONT_WAIT = int(socket.MSG_DONTWAIT)
"""A plain number: an enumeration is one call more at each read and write."""


class Receiver(Protocol):
    """What a wire tells: the calls of `asyncio.Protocol`."""

    def connection_made(self, transport: Any, /) -> None:
        """First."""
        ...

    def data_received(self, data: bytes, /) -> None:
        """Bytes came."""
        ...

    def eof_received(self) -> bool | None:
        """No more will come; true keeps the way out open."""
        ...

    def pause_writing(self) -> None:
        """The other side does not read."""
        ...

    def resume_writing(self) -> None:
        """It does again."""
        ...

    def connection_lost(self, error: Exception | None, /) -> None:
        """Last."""
        ...


class Wire(asyncio.Transport):
    """One connected socket as a transport: what `asyncio` gives, without its task and copies."""

    __slots__ = (
        "_is_at_eof",
        "_is_blocked",
        "_is_closing",
        "_is_lost",
        "_is_paused",
        "_loop",
        "_outbox",
        "_receiver",
        "_socket",
        "_wanted",
        "_watch",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: Watch,
        connected: socket.socket,
        receiver: Receiver,
    ) -> None:
        self._loop = loop
        self._watch = watch
        self._socket = connected
        self._receiver = receiver
        # The usual reply waits alone and as it is; only more than one make a queue. What is in it is
        # sent at the end of the pass or, if we are blocked, when the client reads.
        self._outbox: bytes | deque[bytes | memoryview] | None = None
        self._wanted = READS
        self._is_paused = self._is_closing = self._is_lost = False
        self._is_at_eof = self._is_blocked = False

    def open(self) -> None:
        """Begin; a client that has spoken already is answered in the same pass."""
        self._watch.add(self._socket.fileno(), self._on_ready)
        self._receiver.connection_made(self)
        self._on_ready(READS)

    def _on_ready(self, mask: int) -> None:
        """Read what is there; that nothing but reading is possible is nearly always so."""
        if mask != READS and not self._reads_on(mask):
            return
        if self._is_lost or self._is_paused or self._is_at_eof:
            if not self._is_lost and self._is_paused:
                self._want()
            return
        try:
            data = self._socket.recv(READ_BYTES, _DONT_WAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if data:
            self._receiver.data_received(data)
            return
        self._is_at_eof = True
        if self._receiver.eof_received():
            self._want()
        else:
            self.close()

    def _reads_on(self, mask: int) -> bool:
        """See to what is not reading; whether there is something to read besides."""
        if mask & WRITES:
            self.send()
        if mask & HANGS_UP and (self._is_at_eof or self._is_paused):
            # Nobody can read a reply any more, and a hang-up is told for ever.
            self.abort()
            return False
        return bool(mask & ~WRITES)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send at the end of this pass, or as soon as the client reads."""
        if self._is_lost:
            return
        outbox = self._outbox
        if outbox is None:
            self._outbox = bytes(data)
            self._watch.defer(self)
        elif isinstance(outbox, bytes):
            self._outbox = deque((outbox, bytes(data)))
        else:
            outbox.append(bytes(data))

    def send(self) -> None:
        """Send what the socket takes."""
        outbox = self._outbox
        if not outbox or self._is_lost:
            return
        try:
            if isinstance(outbox, bytes):
                sent = self._socket.send(outbox, _DONT_WAIT)
                if sent == len(outbox) and not self._is_closing:
                    self._outbox = None
                    return
                outbox = self._outbox = deque((memoryview(outbox)[sent:],))
            while outbox:
                data = outbox[0] if len(outbox) == 1 else self._join(outbox)
                sent = self._socket.send(data, _DONT_WAIT)
                if sent == len(data):
                    outbox.popleft()
                else:
                    outbox[0] = memoryview(data)[sent:]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.abort()
            return
        self._regulate()

    @staticmethod
    def _join(outbox: deque[bytes | memoryview]) -> bytes | memoryview:
        """Short replies as one, so that they take one call."""
        if len(outbox[0]) + len(outbox[1]) > READ_BYTES:
            return outbox[0]
        parts = [outbox.popleft()]
        size = len(parts[0])
        while outbox and size + len(outbox[0]) <= READ_BYTES:
            size += len(outbox[0])
            parts.append(outbox.popleft())
        outbox.appendleft(b"".join(parts))
        return outbox[0]

    def _outbox_bytes(self) -> int:
        outbox = self._outbox
        if outbox is None or isinstance(outbox, bytes):
            return len(outbox or b"")
        return sum(map(len, outbox))

    def _regulate(self) -> None:
        waiting = self._outbox_bytes()
        if not waiting:
            self._outbox = None
        if self._is_blocked != bool(waiting):
            self._is_blocked = bool(waiting)
            self._want()
            # Told late, so that a receiver that writes again does not nest.
            tell = self._receiver.pause_writing if waiting else self._receiver.resume_writing
            self._loop.call_soon(partial(self._tell, tell))
        if self._is_closing and not waiting:
            self.abort()

    def _tell(self, tell: Callable[[], None]) -> None:
        if not self._is_lost:
            tell()

    def _want(self) -> None:
        """Have the watch look for what we can use; a socket at its end is ready for ever."""
        reads = not (self._is_paused or self._is_at_eof or self._is_closing)
        wanted = (READS if reads else 0) | (WRITES if self._is_blocked else 0)
        if wanted != self._wanted and not self._is_lost:
            self._wanted = wanted
            self._watch.change(self._socket.fileno(), wanted)

    def pause_reading(self) -> None:
        """Leave what the client sends in its socket."""
        # The set is changed when the socket is next ready: most pauses end before that.
        self._is_paused = True

    def resume_reading(self) -> None:
        """Read again."""
        self._is_paused = False
        self._want()

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._is_closing or self._is_lost

    def close(self) -> None:
        """End once what was written has gone out."""
        if self._is_closing or self._is_lost:
            return
        self._is_closing = True
        if self._outbox:
            self._want()
        else:
            self.abort()

    def abort(self) -> None:
        """End now."""
        if self._is_lost:
            return
        self._is_lost = True
        self._outbox = None
        self._watch.drop(self._socket.fileno())
        self._socket.close()
        self._loop.call_soon(self._receiver.connection_lost, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, for `name` "socket"."""
        return self._socket if name == "socket" and not self._is_lost else default
