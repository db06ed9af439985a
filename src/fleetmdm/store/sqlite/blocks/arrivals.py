"""Documents that arrive in numbers, all of devices that nobody knew: kept by block from the start.

Each block waits as it came, and its devices get numbers of a block of their own, so that the columns
which came with it are those of a whole block.
Rule for editors: what waits here may turn out to be known after all; then it is staged as any other.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Final

from fleetmdm.store.incoming import FEWEST, IncomingBlock, IncomingRows, decode_rows
from fleetmdm.store.sqlite.blocks.columns import encode_devices
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES

HELD_BYTES: Final = 8 * 1024 * 1024
"""So much waits in memory; more waits in a temporary file."""

_KNOWN: Final = """
SELECT EXISTS (
    SELECT 1 FROM json_each(?) AS one CROSS JOIN device_names ON device_names.name = one.value
)
"""

# A block is taken apart by SQLite: a call for each row costs more than the row does.
_NAMES: Final = """
INSERT INTO device_names (device, name) SELECT :first + key, value FROM json_each(:names)
"""
_DOCUMENTS: Final = """
INSERT INTO documents (device, source, since_revision, facts_hash, facts)
SELECT :first + key, :source, :revision, substr(:hashes, 32 * key + 1, 32),
    substr(:facts, (value >> 32) + 1, value & 4294967295)
FROM json_each(:places)
"""
_SIGHTINGS: Final = """
INSERT INTO sightings (device, source, since_revision, last_seen)
SELECT :first + key, :source, :revision, value FROM json_each(:last_seen)
"""
_SERIALS: Final = """
INSERT INTO serials (device, source, serial)
SELECT :first + key, :source, value FROM json_each(:serials) WHERE value IS NOT NULL
"""
_BLOCK: Final = "INSERT INTO fact_blocks (block, revision, devices) VALUES (?, ?, ?)"
_COLUMNS: Final = "INSERT INTO fact_columns (block, name, cells) VALUES (?, ?, ?)"


class Arrivals:
    """Blocks that wait, for as long as all of their devices may be new."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Beside the database: there must be room for the documents anyway.
        folder = str(Path(connection.execute("PRAGMA database_list").fetchone()[2]).parent)
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(HELD_BYTES, dir=folder)  # noqa: SIM115 - `close`
        self._sizes: list[int] = []
        self._bytes: list[int] = []
        self._fit = True

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()

    def fit(self) -> bool:
        """Whether nothing is known yet that is not new."""
        return self._fit

    def take(self, block: IncomingBlock) -> bool:
        """Let a block wait here; false if it cannot, and then neither can any other."""
        self._fit = self._fit and self._is_new(block.device_ids)
        if self._fit:
            self._spool.write(block.data)
            self._sizes.append(len(block.device_ids))
            self._bytes.append(len(block.data))
        return self._fit

    def _is_new(self, names: Sequence[str]) -> bool:
        # A device that stands in two blocks is found out when they move in.
        row = self._connection.execute(_KNOWN, (json.dumps(names, ensure_ascii=False),)).fetchone()
        return not row[0] and len(set(names)) == len(names)

    def worthwhile(self) -> bool:
        """Whether what waits makes blocks that are not too empty."""
        count = sum(self._sizes)
        return self._fit and count >= FEWEST and 2 * count >= BLOCK_DEVICES * (len(self._sizes) - 1)

    def drain(self) -> Iterator[IncomingRows]:
        """All that waits, to be staged instead; nothing waits any more."""
        self._fit = False
        yield from self._waiting()
        self._sizes.clear()
        self._bytes.clear()

    def _waiting(self) -> Iterator[IncomingRows]:
        self._spool.seek(0)
        for size in self._bytes:
            yield decode_rows(self._spool.read(size))

    def move(self, *, source: int, revision: int) -> bool:
        """Move everything in, inside the caller's transaction; false if a device is not new."""
        last = self._connection.execute("SELECT max(device) FROM device_names").fetchone()[0]
        for block, rows in enumerate(self._waiting(), (last or 0) // BLOCK_DEVICES + 1):
            try:
                chosen = {
                    "first": block * BLOCK_DEVICES,
                    "names": json.dumps(rows.device_ids, ensure_ascii=False),
                }
                self._connection.execute(_NAMES, chosen)
            except sqlite3.IntegrityError:
                return False
            self._keep(rows, block, source, revision)
        return True

    def _keep(self, rows: IncomingRows, block: int, source: int, revision: int) -> None:
        ends = accumulate(rows.lengths)
        places = [end - size << 32 | size for end, size in zip(ends, rows.lengths, strict=True)]
        chosen = {
            "first": block * BLOCK_DEVICES,
            "source": source,
            "revision": revision,
            "hashes": rows.hashes,
            "facts": rows.facts,
            "places": json.dumps(places),
            "last_seen": json.dumps(rows.last_seen),
            "serials": json.dumps(rows.serials, ensure_ascii=False),
        }
        for statement in (_DOCUMENTS, _SIGHTINGS, _SERIALS):
            self._connection.execute(statement, chosen)
        if rows.columns:
            devices = encode_devices(range(len(rows.device_ids)), rows.device_ids, rows.hashes)
            self._connection.execute(_BLOCK, (block, revision, devices))
            cells = ((block, name, cells) for name, cells in rows.columns.items())
            self._connection.executemany(_COLUMNS, cells)
