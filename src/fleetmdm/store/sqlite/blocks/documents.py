"""Documents as they were at a revision, still encoded: of the fleet, of a block, of some devices."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any, Final

from fleetmdm.device import DocumentBatch, decode_facts, encode_facts, merge_snapshots
from fleetmdm.ingest.sources import rank_of
from fleetmdm.store.codec import encode_stamp, parse_stamp, stamp_to_time
from fleetmdm.store.incoming import BLOCK_DEVICES
from fleetmdm.store.sqlite.revisions import IN_FORCE

__all__ = [
    "BLOCK_DEVICES",
    "read_block_documents",
    "read_documents",
    "read_some_documents",
    "source_ranks",
]

_DOCUMENTS = f"""
SELECT names.name, kept.facts, seen.last_seen, names.device, kept.source, kept.facts_hash
FROM {{chosen}} AS names
CROSS JOIN documents AS kept ON kept.device = names.device
CROSS JOIN sightings AS seen ON seen.device = kept.device AND seen.source = kept.source
WHERE {IN_FORCE.format("kept")} AND {IN_FORCE.format("seen")}
ORDER BY {{order}}
"""  # noqa: S608 - constants of this package, no value from outside

_EVERY: Final = _DOCUMENTS.format(chosen="device_names", order="names.name")
_OF_BLOCK: Final = _DOCUMENTS.format(
    chosen="(SELECT * FROM device_names WHERE device BETWEEN :first AND :last)",
    order="names.device",
)
_OF_SOME: Final = _DOCUMENTS.format(
    chosen=(
        "(SELECT device_names.* FROM json_each(:devices) AS one"
        " CROSS JOIN device_names ON device_names.device = one.value)"
    ),
    order="names.device",
)

_Row = tuple[str, bytes, str, int, int, bytes]


def read_documents(
    connection: sqlite3.Connection, revision: int, batch_devices: int
) -> Iterator[DocumentBatch]:
    """The whole fleet in the order of the ids, each device the union of its sources."""
    yield from _read(connection, _EVERY, {"revision": revision}, batch_devices)


def read_block_documents(
    connection: sqlite3.Connection, revision: int, block: int
) -> Iterator[DocumentBatch]:
    """The devices of a block by their numbers; at most one batch."""
    first = block * BLOCK_DEVICES
    chosen = {"revision": revision, "first": first, "last": first + BLOCK_DEVICES - 1}
    yield from _read(connection, _OF_BLOCK, chosen, None)


def read_some_documents(
    connection: sqlite3.Connection, revision: int, devices: Sequence[int]
) -> Iterator[DocumentBatch]:
    """Some devices, given and answered by their numbers; at most one batch."""
    chosen = {"revision": revision, "devices": json.dumps(list(devices))}
    yield from _read(connection, _OF_SOME, chosen, None)


def _read(
    connection: sqlite3.Connection, sql: str, chosen: Mapping[str, Any], at_once: int | None
) -> Iterator[DocumentBatch]:
    ranks = source_ranks(connection)
    cursor = connection.execute(sql, chosen)
    if at_once is None:
        yield from _batches(cursor.fetchall(), ranks)
        return
    held: list[_Row] = []
    while rows := cursor.fetchmany(at_once):
        rows = held + rows
        # With several sources, those of the last device may go on in the next rows.
        held = _last_group(rows) if len(ranks) > 1 else []
        yield from _batches(rows[: len(rows) - len(held)], ranks)
    yield from _batches(held, ranks)


def _last_group(rows: list[_Row]) -> list[_Row]:
    name = rows[-1][0]
    return list(takewhile(lambda row: row[0] == name, reversed(rows)))[::-1]


def _batches(rows: list[_Row], ranks: Mapping[int, int]) -> Iterator[DocumentBatch]:
    if len({row[0] for row in rows}) < len(rows):
        groups = [list(group) for _, group in groupby(rows, key=itemgetter(0))]
        rows = [group[0] if len(group) == 1 else _merge(group, ranks) for group in groups]
    if rows:
        names, facts, stamps, handles, _, hashes = zip(*rows, strict=True)
        yield DocumentBatch(names, facts, list(map(stamp_to_time, stamps)), handles, hashes)


def _merge(rows: list[_Row], ranks: Mapping[int, int]) -> _Row:
    ranked = sorted(rows, key=lambda row: ranks[row[4]])
    device = merge_snapshots([decode_facts(row[1], parse_stamp(row[2])) for row in ranked])
    name, _, _, handle, source, _ = ranked[0]
    facts = encode_facts(device)
    digest = hashlib.sha256(facts).digest()
    return name, facts, encode_stamp(device.last_seen), handle, source, digest


def source_ranks(connection: sqlite3.Connection) -> dict[int, int]:
    """The precedence of each source, by its number."""
    rows = connection.execute("SELECT source, name FROM sources")
    return {number: rank_of(name) for number, name in rows}
