"""Facts of a block by column: kept at ingest or by the first check, and read by those that follow.

A block's columns hold the documents of one revision. A later reader takes from them the devices that
did not change since, and the documents of the others; where too many changed, the columns are made
anew. Rule for editors: columns of a revision later than the reader's are not for this reader.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from fleetmdm.device import DocumentBatch
from fleetmdm.evaluate.table import FactBatch, FactTable, build_table
from fleetmdm.store.codec import stamp_to_time
from fleetmdm.store.sqlite.blocks.changes import Changes
from fleetmdm.store.sqlite.blocks.documents import (
    BLOCK_DEVICES,
    read_block_documents,
    read_some_documents,
)
from fleetmdm.store.sqlite.revisions import IN_FORCE

RENEW_SHARE: Final = 4
"""Columns are made anew where more than one in so many devices changed."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[list[int], list[str], bytes]).decode
_decode_document: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class NewColumns:
    """Columns of a block that are not kept yet."""

    block: int
    devices: bytes
    cells: Mapping[str, bytes]


def build_columns(block: int, documents: DocumentBatch) -> NewColumns:
    """The columns of a block from the documents of all its devices."""
    offsets = [handle % BLOCK_DEVICES for handle in documents.handles]
    return NewColumns(
        block,
        encode_devices(offsets, documents.device_ids, b"".join(documents.hashes)),
        build_table(list(map(_decode_document, documents.facts))),
    )


def encode_devices(offsets: Sequence[int], names: Sequence[str], hashes: bytes) -> bytes:
    """The devices of a block's columns, in their order; `hashes` stand one behind the other."""
    return _encode((list(offsets), list(names), hashes))


def write_columns(
    connection: sqlite3.Connection, made: Iterable[NewColumns], revision: int
) -> None:
    """Keep columns inside the caller's transaction, unless newer ones are there already."""
    for one in made:
        cursor = connection.execute(
            "INSERT INTO fact_blocks (block, revision, devices) VALUES (?, ?, ?)"
            " ON CONFLICT (block) DO UPDATE"
            " SET revision = excluded.revision, devices = excluded.devices"
            " WHERE excluded.revision > revision",
            (one.block, revision, one.devices),
        )
        if cursor.rowcount:
            connection.execute("DELETE FROM fact_columns WHERE block = ?", (one.block,))
            connection.executemany(
                "INSERT INTO fact_columns (block, name, cells) VALUES (?, ?, ?)",
                ((one.block, name, cells) for name, cells in one.cells.items()),
            )


@dataclass(frozen=True, slots=True)
class BlockRead:
    """A block's devices at a revision; `renewed` are columns that are worth keeping."""

    batches: tuple[FactBatch | DocumentBatch, ...]
    renewed: NewColumns | None = None


class BlockReader:
    """Reads blocks as they were at a revision."""

    def __init__(self, connection: sqlite3.Connection, revision: int) -> None:
        self._connection = connection
        self._revision = revision
        oldest = connection.execute(
            "SELECT min(revision) FROM fact_blocks WHERE revision <= ?", (revision,)
        ).fetchone()[0]
        self._changes = Changes(connection, revision if oldest is None else oldest, revision)

    def read(self, block: int) -> BlockRead:
        """Every device of a block, from its columns as far as they still hold."""
        row = self._connection.execute(
            "SELECT revision, devices FROM fact_blocks WHERE block = ? AND revision <= ?",
            (block, self._revision),
        ).fetchone()
        if row is None:
            return self._read_anew(block)
        first = block * BLOCK_DEVICES
        changed = self._changes.among(first, first + BLOCK_DEVICES - 1, after=row[0])
        offsets, names, hashes = _decode(row[1])
        if len(changed) * RENEW_SHARE > len(offsets):
            return self._read_anew(block)
        seen = _read_sightings(self._connection, self._revision, block)
        handles = [first + offset for offset in offsets]
        kept = list(range(len(handles)))
        if changed or seen.keys() != set(handles):
            kept = [at for at, one in enumerate(handles) if one in seen and one not in changed]
        batches: list[FactBatch | DocumentBatch] = []
        if kept:
            handles = [handles[place] for place in kept]
            batches.append(
                FactBatch(
                    [names[place] for place in kept],
                    [stamp_to_time(seen[handle]) for handle in handles],
                    [hashes[32 * place : 32 * place + 32] for place in kept],
                    handles,
                    FactTable(len(kept), self._cells(block), _places(kept, len(offsets))),
                )
            )
        if changed:
            batches.extend(read_some_documents(self._connection, self._revision, sorted(changed)))
        return BlockRead(tuple(batches))

    def _read_anew(self, block: int) -> BlockRead:
        batches = tuple(read_block_documents(self._connection, self._revision, block))
        return BlockRead(batches, build_columns(block, batches[0]) if batches else None)

    def _cells(self, block: int) -> dict[str, bytes]:
        sql = "SELECT name, cells FROM fact_columns WHERE block = ?"
        return dict(self._connection.execute(sql, (block,)).fetchall())


def _places(kept: list[int], size: int) -> npt.NDArray[np.intp] | None:
    return None if len(kept) == size else np.array(kept, dtype=np.intp)


_SIGHTINGS = f"""
SELECT device, last_seen FROM sightings AS seen
WHERE device BETWEEN :first AND :last AND {IN_FORCE.format("seen")}
"""  # noqa: S608 - constants of this package, no value from outside


def _read_sightings(connection: sqlite3.Connection, revision: int, block: int) -> dict[int, str]:
    """When the newest source of each device saw it."""
    first = block * BLOCK_DEVICES
    chosen = {"revision": revision, "first": first, "last": first + BLOCK_DEVICES - 1}
    rows: list[tuple[int, str]] = connection.execute(_SIGHTINGS, chosen).fetchall()
    seen = dict(rows)
    if len(seen) < len(rows):
        for device, stamp in rows:
            seen[device] = max(seen[device], stamp)
    return seen


_NEXT_DEVICE: Final = "SELECT min(device) FROM device_names WHERE device >= ?"


def read_blocks(connection: sqlite3.Connection) -> Iterator[int]:
    """The numbers of all blocks that any device was ever in."""
    block = 0
    while True:
        # From block to block by the key: nobody looks at every device.
        (device,) = connection.execute(_NEXT_DEVICE, (block * BLOCK_DEVICES,)).fetchone()
        if device is None:
            return
        block = device // BLOCK_DEVICES
        yield block
        block += 1
