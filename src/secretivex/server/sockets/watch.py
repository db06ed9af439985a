"""Which sockets are ready: the loop watches one descriptor, the epoll set that holds them all.

An event loop's transport costs a task when it opens and a turn of the loop a message; one look at
the set tells everything that is ready. Rule for editors: a look is bounded, so that signing and the
loop's own sockets are never starved; writes that can wait do so until the end of the pass, for every
early one wakes its client by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable
from typing import Protocol

MAX_EVENTS = 128
"""Sockets looked after in one pass."""

READS, WRITES, HANGS_UP = 1, 4, 24
"""EPOLLIN, EPOLLOUT, EPOLLERR | EPOLLHUP, as Linux numbers them; elsewhere only our own words."""

OnReady = Callable[[int], None]


class Sender(Protocol):
    """What has something to send."""

    def send(self) -> None:
        """Send what the socket takes."""
        ...


class Watch:
    """Which sockets are ready; `begin` is called before those of one pass are looked after."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handlers: dict[int, OnReady] = {}
        self._waiting: list[Sender] = []
        self._is_flush_due = False
        self.begin: Callable[[], None] = lambda: None
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self.look)

    def add(self, descriptor: int, on_ready: OnReady) -> None:
        """Call `on_ready` with what a socket is ready for, until it is dropped."""
        self._handlers[descriptor] = on_ready
        if self._epoll is None:
            self._loop.add_reader(descriptor, self._look_after, descriptor, READS)
        else:
            # Not EPOLLEXCLUSIVE: it may wake the one worker that is above its share, or hangs.
            self._epoll.register(descriptor, READS)

    def change(self, descriptor: int, wanted: int) -> None:
        """Be told of READS, of WRITES, of both or of neither; of a hang-up always."""
        if self._epoll is not None:
            self._epoll.modify(descriptor, wanted)
            return
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        if wanted & READS:
            self._loop.add_reader(descriptor, self._look_after, descriptor, READS)
        if wanted & WRITES:
            self._loop.add_writer(descriptor, self._look_after, descriptor, WRITES)

    def drop(self, descriptor: int) -> None:
        """Say no more of a socket that is about to be closed, or left alone."""
        if self._handlers.pop(descriptor, None) is None:
            return
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)
        else:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)

    def look(self) -> None:
        """Look after everything that is ready now, without waiting."""
        if self._epoll is None:
            return
        self.begin()
        handlers = self._handlers
        for descriptor, mask in self._epoll.poll(0, MAX_EVENTS):
            # One that is ready may have been dropped by one before it.
            on_ready = handlers.get(descriptor)
            if on_ready is not None:
                on_ready(mask)
        self.flush()

    def _look_after(self, descriptor: int, mask: int) -> None:
        self.begin()
        on_ready = self._handlers.get(descriptor)
        if on_ready is not None:
            on_ready(mask)
        self.flush()

    def defer(self, sender: Sender) -> None:
        """Have something sent at the end of this pass."""
        self._waiting.append(sender)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.send()

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self._handlers.clear()
