"""Blocks of documents that wait, as they came, until everything was read.

They lie in a file without a name beside the database, where there must be room for them anyway.
Rule for editors: what waits is never changed; it goes when this is closed.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import IO, Final

from fleetmdm.store.incoming import IncomingBlock, IncomingRows, decode_rows

HELD_BYTES: Final = 8 * 1024 * 1024
"""So much waits in memory; more waits in a temporary file."""


class Waiting:
    """Blocks in the order in which they came."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        folder = str(Path(connection.execute("PRAGMA database_list").fetchone()[2]).parent)
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(HELD_BYTES, dir=folder)  # noqa: SIM115 - `close`
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()

    def add(self, block: IncomingBlock) -> None:
        """Let one more wait."""
        self._spool.seek(self._ends[-1])
        self._spool.write(block.data)
        self._ends.append(self._ends[-1] + len(block.data))

    def read(self, block: int) -> IncomingRows:
        """One of them, by its number from 0."""
        begin, end = self._ends[block : block + 2]
        self._spool.seek(begin)
        return decode_rows(self._spool.read(end - begin))
