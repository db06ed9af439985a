"""A worker's end of the audit pipe: records gathered for some milliseconds, then one write.

A write of at most PIPE_BUF bytes is never torn or mixed with another process's (pipe(7)). Rule for
editors: this never blocks; what the pipe will not take waits here, bounded, and beyond that bound
either signing stops or records are dropped and counted, as the configuration says.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from secretivex.audit.record import PIPE_BYTES
from secretivex.audit.sheet import Piece
from secretivex.server.audit.cells import AuditCells

MAX_BLOCKED = 256
"""Pieces, each of up to `PIPE_BYTES`, that wait for room in the pipe."""

GATHER_S = 0.02
"""How long a record may wait here for others: a write for each would cost more than the record."""

LAST_WORDS_S = 0.3
"""How long a worker's end waits for a pipe that is full."""

RETRY_S = 0.02
"""Pause before a full pipe is tried again."""


class Later(Protocol):
    """The part of an event loop that is needed here."""

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
    """Takes records for the writer."""

    def __init__(self, line: AuditLine, worker: int, loop: Later) -> None:
        self._pipe = line.pipe
        self._cells = line.cells
        self._must_record = line.must_record
        self._worker = worker
        self._loop = loop
        self.source: Callable[[], Iterable[Piece]] = tuple
        """Gives the pieces that wait, each time that some are written."""
        self.is_due = False
        """Whether they will be asked for; who has one and sees that they are not calls `wake`."""
        self._blocked: deque[Piece] = deque()

    @property
    def is_refusing(self) -> bool:
        """Whether nothing may be signed now, for it could not be recorded."""
        return self._must_record and (self._cells.is_stuck or len(self._blocked) >= MAX_BLOCKED)

    def wake(self) -> None:
        """There are records: whole lines or a sheet, each piece of at most `PIPE_BYTES`."""
        self.is_due = True
        self._loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Write what waits, as far as the pipe takes it."""
        self.is_due = False
        for piece in _joined(self.source()):
            self._take(piece)
        while self._blocked:
            if not self._write(self._blocked[0]):
                return
            self._blocked.popleft()

    def close(self) -> None:
        """Write what waits, for as long as the end may wait for it; count what had to stay."""
        self.flush()
        end = time.monotonic() + LAST_WORDS_S
        while self._blocked and time.monotonic() < end:
            time.sleep(RETRY_S)
            self.flush()
        for _, records in self._blocked:
            self._cells.drop(self._worker, records)
        self._blocked.clear()

    def _take(self, piece: Piece) -> None:
        if not self._blocked and self._write(piece):
            return
        if len(self._blocked) >= MAX_BLOCKED and not self._must_record:
            self._cells.drop(self._worker, piece[1])
        else:
            self._blocked.append(piece)

    def _write(self, piece: Piece) -> bool:
        """Whether the pipe took it; if not, it is tried again after a pause."""
        try:
            os.write(self._pipe, piece[0])
        except BlockingIOError:
            if not self.is_due:
                self.is_due = True
                self._loop.call_later(RETRY_S, self.flush)
            return False
        return True


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """As many together as fit into one write that cannot be torn."""
    parts: list[bytes] = []
    size = records = 0
    for data, count in pieces:
        if size + len(data) > PIPE_BYTES:
            yield b"".join(parts), records
            parts, size, records = [], 0, 0
        parts.append(data)
        size += len(data)
        records += count
    if parts:
        yield b"".join(parts), records
