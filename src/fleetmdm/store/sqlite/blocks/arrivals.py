"""Documents that arrive in numbers, all of devices that nobody knew: kept by block from the start.

Such devices get numbers that begin with a block of their own, so that the columns which were made
while the documents were staged are those of whole blocks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from fleetmdm.device import Device
from fleetmdm.evaluate.table import build_table
from fleetmdm.store.sqlite.blocks.columns import encode_devices
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES

FEWEST: Final = BLOCK_DEVICES // 4
"""Fewer documents than this are no block of their own."""

_TABLES: Final = (
    """
    CREATE TABLE temp.arriving_blocks (batch INTEGER PRIMARY KEY, devices BLOB NOT NULL) STRICT
    """,
    """
    CREATE TABLE temp.arriving_columns (
        batch INTEGER NOT NULL, name TEXT NOT NULL, cells BLOB NOT NULL
    ) STRICT
    """,
)

_KNOWN: Final = """
SELECT EXISTS (
    SELECT 1 FROM json_each(?) AS one CROSS JOIN device_names ON device_names.name = one.value
)
"""

_ANY_KNOWN: Final = """
SELECT EXISTS (SELECT 1 FROM device_names) AND EXISTS (
    SELECT 1 FROM temp.incoming CROSS JOIN device_names USING (name)
)
"""

_MOVE: Final = (
    """
    INSERT INTO device_names (device, name)
    SELECT :before + item, name FROM temp.incoming ORDER BY item
    """,
    """
    INSERT INTO documents (device, source, since_revision, facts_hash, facts)
    SELECT :before + item, :source, :revision, facts_hash, facts FROM temp.incoming ORDER BY item
    """,
    """
    INSERT INTO sightings (device, source, since_revision, last_seen)
    SELECT :before + item, :source, :revision, last_seen FROM temp.incoming ORDER BY item
    """,
    """
    INSERT INTO serials (device, source, serial)
    SELECT :before + item, :source, serial FROM temp.incoming WHERE serial IS NOT NULL
    ORDER BY item
    """,
    """
    INSERT INTO fact_blocks (block, revision, devices)
    SELECT :block + batch, :revision, devices FROM temp.arriving_blocks
    """,
    """
    INSERT INTO fact_columns (block, name, cells)
    SELECT :block + batch, name, cells FROM temp.arriving_columns
    """,
)


class Arrivals:
    """The columns of staged documents, for as long as all of these may be of new devices."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._batches = 0
        self._fit = True
        drop_arrivals(connection)
        for table in _TABLES:
            connection.execute(table)

    def take(self, devices: Sequence[Device], hashes: Sequence[bytes]) -> None:
        """Take the next batch: all of `BLOCK_DEVICES`, only the last may have fewer."""
        names = [device.device_id for device in devices]
        self._fit = self._fit and self._new(names)
        if not self._fit or len(names) < FEWEST:
            return
        self._connection.execute(
            "INSERT INTO temp.arriving_blocks VALUES (?, ?)",
            (self._batches, encode_devices(range(len(names)), names, hashes)),
        )
        cells = build_table(list(map(_document, devices)))
        self._connection.executemany(
            "INSERT INTO temp.arriving_columns VALUES (?, ?, ?)",
            ((self._batches, name, data) for name, data in cells.items()),
        )
        self._batches += 1

    def _new(self, names: list[str]) -> bool:
        # Twice the same device is found out when all are there.
        row = self._connection.execute(_KNOWN, (json.dumps(names),)).fetchone()
        return not row[0]

    def fit(self, received: int) -> bool:
        """Whether all that was staged is new and nothing came twice."""
        if not self._fit or received < FEWEST:
            return False
        staged = self._connection.execute("SELECT count(*) FROM temp.incoming").fetchone()[0]
        return staged == received and not self._connection.execute(_ANY_KNOWN).fetchone()[0]

    def move(self, *, source: int, revision: int) -> None:
        """Move everything in, inside the caller's transaction."""
        last = self._connection.execute("SELECT max(device) FROM device_names").fetchone()[0]
        block = (last or 0) // BLOCK_DEVICES + 1
        chosen: dict[str, Any] = {"source": source, "revision": revision, "block": block}
        # Items count from 1.
        chosen["before"] = block * BLOCK_DEVICES - 1
        for statement in _MOVE:
            self._connection.execute(statement, chosen)


def drop_arrivals(connection: sqlite3.Connection) -> None:
    """Forget everything."""
    for table in ("arriving_blocks", "arriving_columns"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _document(device: Device) -> dict[str, Any]:
    """The document as it is stored."""
    return {
        "hostname": device.hostname,
        "os": device.os,
        "os_version": device.os_version,
        "serial": device.serial,
        "tags": list(device.tags),
        "facts": device.facts,
    }
