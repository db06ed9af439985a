"""A worker's end of the audit pipe: lines gathered over one turn of the loop, then one write.

A write of at most PIPE_BUF bytes is never torn or mixed with another process's (pipe(7)). Rule for
editors: this never blocks; what the pipe will not take waits here, bounded, and beyond that bound
either signing stops or records are dropped and counted, as the configuration says.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from secretivex.audit.record import PIPE_BYTES
from secretivex.server.audit.cells import AuditCells

MAX_WAITING = 4096
"""Records that wait for room in the pipe, which itself holds some hundreds."""

RETRY_S = 0.02
"""Pause before a full pipe is tried again."""


class Later(Protocol):
    """The part of an event loop that is needed here."""

    def call_soon(self, callback: Callable[..., Any], /) -> object:
        """Call back in the next turn."""
        ...

    def call_later(self, delay: float, callback: Callable[..., Any], /) -> object:
        """Call back after so many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class AuditLine:
    """What a worker needs to have something recorded."""

    pipe: int
    cells: AuditCells
    must_record: bool


class AuditFeed:
    """Takes lines for the writer."""

    def __init__(self, line: AuditLine, worker: int, loop: Later) -> None:
        self._pipe = line.pipe
        self._cells = line.cells
        self._must_record = line.must_record
        self._worker = worker
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._is_due = False

    @property
    def is_refusing(self) -> bool:
        """Whether nothing may be signed now, for it could not be recorded."""
        return self._must_record and (self._cells.is_stuck or len(self._waiting) >= MAX_WAITING)

    def put(self, line: bytes) -> None:
        """Have a line written."""
        if len(self._waiting) >= MAX_WAITING and not self._must_record:
            self._cells.drop(self._worker, 1)
            return
        self._waiting.append(line)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits, as far as the pipe takes it."""
        self._is_due = False
        while self._waiting:
            piece = _take_piece(self._waiting)
            try:
                os.write(self._pipe, b"".join(piece))
            except BlockingIOError:
                self._waiting.extendleft(reversed(piece))
                self._is_due = True
                self._loop.call_later(RETRY_S, self.flush)
                return


def _take_piece(waiting: deque[bytes]) -> list[bytes]:
    """As many lines as fit into one write that cannot be torn."""
    piece = [waiting.popleft()]
    room = PIPE_BYTES - len(piece[0])
    while waiting and len(waiting[0]) <= room:
        room -= len(waiting[0])
        piece.append(waiting.popleft())
    return piece
