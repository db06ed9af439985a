"""How many connections each worker holds, in memory that all workers share.

Each worker writes its own cell only, so no lock is needed. Rule for editors: made before the first
fork; a cell is aligned and eight bytes wide, so it is never seen half-written.
"""

from __future__ import annotations

import mmap

_CELL_BYTES = 8


class ConnectionCells:
    """One counter a worker."""

    def __init__(self, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, workers * _CELL_BYTES)).cast("Q")

    def __len__(self) -> int:
        return len(self._cells)

    def set(self, worker: int, connections: int) -> None:
        """A worker's own count, or 0 by the supervisor for a worker that died."""
        self._cells[worker] = connections

    def total(self) -> int:
        """Over all workers, as they are at this moment."""
        return sum(self._cells)

    def is_above_share(self, worker: int) -> bool:
        """Whether a worker holds so much that it should leave new connections to others."""
        mine, total = self._cells[worker], sum(self._cells)
        return mine > total / len(self._cells) * SHARE_LIMIT + SHARE_SLACK


SHARE_LIMIT = 1.0625
"""Times its equal share that a worker may hold."""

SHARE_SLACK = 16
"""Connections beside that: two batches of accepting, so that clients which come and go never make a
worker hesitate. With 200 clients on two workers both together stay below the promised 1.25 times.
"""
