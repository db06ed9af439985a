"""What clients make a worker keep, bounded: half messages, and requests that wait to be signed.

Rule for editors: waiting requests go away by themselves, so whoever brings more of them waits; half
messages do not, so whoever brings more of them is closed.
"""

from __future__ import annotations

from typing import Protocol

from secretivex.metrics.cells import Meter

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""What all workers may keep, half messages and waiting requests each."""


class Starved(Protocol):
    """A connection that waits for memory."""

    def go_on(self) -> None:
        """There is some."""
        ...


class Memory:
    """One worker's account."""

    def __init__(self, meter: Meter) -> None:
        self.max_bytes = MAX_KEPT_BYTES
        self._meter = meter
        self.buffered_bytes = 0
        self.held_bytes = 0
        """What requests hold that wait to be signed, as their queues count it."""
        self._starved: dict[Starved, None] = {}

    def keep(self, change_bytes: int) -> bool:
        """Count bytes of half messages; false if there is no memory for more."""
        self.buffered_bytes += change_bytes
        if change_bytes < 0 or self.buffered_bytes <= self.max_bytes:
            return True
        self._meter.count("floods")
        return False

    def has_room(self, connection: Starved) -> bool:
        """Whether another request may wait; if not, its connection is told when."""
        if self.held_bytes < self.max_bytes:
            return True
        self._starved[connection] = None
        return False

    def feed(self) -> None:
        """Let connections go on, oldest first, once a quarter is free; as many as there are now."""
        for connection in tuple(self._starved) if self._starved else ():
            if self.held_bytes >= self.max_bytes * 3 // 4:
                return
            del self._starved[connection]
            connection.go_on()

    def forget(self, connection: Starved) -> None:
        """A connection is gone."""
        self._starved.pop(connection, None)
