"""Documents that arrive in numbers, all of devices that nobody knew: kept by block from the start.

Each block waits as it came, and its devices get numbers of a block of their own, so that the columns
which came with it are those of a whole block.
Rule for editors: what waits may turn out to be known after all; then it is staged as any other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from fleetmdm.store.incoming import BLOCK_DEVICES, FEWEST, IncomingBlock, IncomingRows
from fleetmdm.store.sqlite.blocks.columns import encode_devices
from fleetmdm.store.sqlite.blocks.waiting import Waiting

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


def _encode_json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(values).decode()


class Arrivals:
    """Blocks that wait, for as long as all of their devices may be new."""

    def __init__(self, connection: sqlite3.Connection, waiting: Waiting) -> None:
        self._connection = connection
        self._waiting = waiting
        self._count = 0
        self._fit = True

    def fit(self) -> bool:
        """Whether nothing is known yet that is not new."""
        return self._fit

    def take(self, block: IncomingBlock) -> bool:
        """Whether a block can move in as it is; if it cannot, neither can any other."""
        self._fit = self._fit and self._is_new(block.device_ids)
        self._count += len(block.device_ids)
        return self._fit

    def _is_new(self, names: Sequence[str]) -> bool:
        # A device that stands in two blocks is found out when they move in.
        row = self._connection.execute(_KNOWN, (_encode_json(names),)).fetchone()
        return not row[0] and len(set(names)) == len(names)

    def worthwhile(self) -> bool:
        """Whether what waits makes blocks that are not too empty."""
        enough = 2 * self._count >= BLOCK_DEVICES * (len(self._waiting) - 1)
        return self._fit and self._count >= FEWEST and enough

    def move(self, *, source: int, revision: int) -> bool:
        """Move everything in, inside the caller's transaction; false if a device is not new."""
        last = self._connection.execute("SELECT max(device) FROM device_names").fetchone()[0]
        first = (last or 0) // BLOCK_DEVICES + 1
        for block, rows in enumerate(map(self._waiting.read, range(len(self._waiting))), first):
            try:
                chosen = {"first": block * BLOCK_DEVICES, "names": _encode_json(rows.device_ids)}
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
            "places": _encode_json(places),
            "last_seen": _encode_json(rows.last_seen),
            "serials": _encode_json(rows.serials),
        }
        for statement in (_DOCUMENTS, _SIGHTINGS, _SERIALS):
            self._connection.execute(statement, chosen)
        if rows.columns:
            devices = encode_devices(range(len(rows.device_ids)), rows.device_ids, rows.hashes)
            self._connection.execute(_BLOCK, (block, revision, devices))
            cells = ((block, name, cells) for name, cells in rows.columns.items())
            self._connection.executemany(_COLUMNS, cells)
