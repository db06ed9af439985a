"""Devices: what each source says of them, as intervals over revisions.

Rule for editors: documents are parsed and staged in a temporary table without any lock; the write
transaction only moves rows, so that a slow source never keeps others waiting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from itertools import count, groupby

from fleetmdm.device import Device
from fleetmdm.ingest.sources import Source
from fleetmdm.store.incoming import BLOCK_DEVICES, BlockSource, device_blocks
from fleetmdm.store.port import IngestCounts, SnapshotOvertaken
from fleetmdm.store.sqlite.blocks.arrivals import Arrivals
from fleetmdm.store.sqlite.blocks.waiting import Waiting
from fleetmdm.store.sqlite.connection import cache_more, staging, writing
from fleetmdm.store.sqlite.revisions import new_revision


def put_blocks(
    connection: sqlite3.Connection,
    blocks: BlockSource,
    *,
    source: Source,
    now: datetime,
    based_on: Mapping[str, str | None],
) -> IngestCounts:
    """Stage the documents, then move them in within one short transaction."""
    cache_more(connection)
    with _tables(connection), closing(Waiting(connection)) as waiting:
        arrivals = Arrivals(connection, waiting)
        received = staged = 0
        for block in blocks(arrivals.fit):
            waiting.add(block)
            received += len(block.device_ids)
            if not arrivals.take(block):
                staged = _stage(connection, waiting, staged)
        if arrivals.worthwhile():
            counts = _welcome(connection, arrivals, received, source, now, based_on)
            if counts is not None:
                return counts
        _stage(connection, waiting, staged)
        with writing(connection):
            _check_bases(connection, source, based_on)
            return _apply(connection, waiting, received, source, now)


_BASE = """
SELECT kept.facts_hash FROM device_names AS names
JOIN documents AS kept USING (device) JOIN sources USING (source)
WHERE names.name = ? AND sources.name = ? AND kept.until_revision IS NULL
"""


def _check_bases(
    connection: sqlite3.Connection, source: Source, based_on: Mapping[str, str | None]
) -> None:
    """Nobody changed what a document builds on since it was read. Raises `SnapshotOvertaken`."""
    for name, digest in based_on.items():
        row = connection.execute(_BASE, (name, source.value)).fetchone()
        if (None if row is None else row[0].hex()) != digest:
            raise SnapshotOvertaken(name)


Put = Callable[[Device, Source, datetime], IngestCounts]


@contextmanager
def put_within(connection: sqlite3.Connection) -> Iterator[Put]:
    """One write transaction in which a document may be put that depends on what is read in it."""

    def put(device: Device, source: Source, now: datetime) -> IngestCounts:
        for block in device_blocks([device])(lambda: False):
            waiting.add(block)
        _stage_rows(connection, waiting, 0)
        return _apply(connection, waiting, 1, source, now)

    with _tables(connection), closing(Waiting(connection)) as waiting, writing(connection):
        yield put


@contextmanager
def _tables(connection: sqlite3.Connection) -> Iterator[None]:
    _drop(connection)
    connection.execute(_INCOMING)
    connection.execute(_FATES)
    try:
        yield
    finally:
        # After a full disk even this may fail; what went wrong first is what is told.
        with suppress(sqlite3.Error):
            _drop(connection)


def _drop(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE IF EXISTS temp.incoming")
    connection.execute("DROP TABLE IF EXISTS temp.fates")


# The documents themselves stay where they wait: `item` is the number by which they are found there.
_INCOMING = """
CREATE TABLE temp.incoming (
    item INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_seen TEXT NOT NULL,
    serial TEXT,
    facts_hash BLOB NOT NULL
) STRICT
"""

_FATES = """
CREATE TABLE temp.fates (
    item INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    fate TEXT NOT NULL
) STRICT
"""

# Of two documents of one device the newer counts; of two of one moment, the later one given.
_STAGE = """
INSERT INTO temp.incoming (item, name, last_seen, serial, facts_hash) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    item = excluded.item, last_seen = excluded.last_seen, serial = excluded.serial,
    facts_hash = excluded.facts_hash
WHERE excluded.last_seen >= last_seen
"""


def _stage(connection: sqlite3.Connection, waiting: Waiting, staged: int) -> int:
    """Stage what waits but for the blocks that are; answers how many are then."""
    with staging(connection):
        _stage_rows(connection, waiting, staged)
    return len(waiting)


def _stage_rows(connection: sqlite3.Connection, waiting: Waiting, staged: int) -> None:
    for block in range(staged, len(waiting)):
        rows = waiting.read(block)
        items = count(block * BLOCK_DEVICES)
        each = (rows.device_ids, rows.last_seen, rows.serials, rows.each_hash())
        connection.executemany(_STAGE, zip(items, *each, strict=False))


_JUDGE = """
INSERT INTO temp.fates (item, device, fate)
SELECT incoming.item, names.device, ifnull(
    (
        SELECT CASE
            WHEN incoming.last_seen < seen.last_seen THEN 'older'
            WHEN incoming.facts_hash != kept.facts_hash THEN 'changed'
            WHEN incoming.last_seen > seen.last_seen THEN 'refreshed'
            ELSE 'unchanged'
        END
        FROM documents AS kept
        JOIN sightings AS seen USING (device, source)
        WHERE kept.device = names.device AND kept.source = :source
        AND kept.until_revision IS NULL AND seen.until_revision IS NULL
    ),
    'added'
)
FROM temp.incoming JOIN device_names AS names USING (name)
"""

_CLOSE_DOCUMENTS = """
UPDATE documents SET until_revision = :revision
FROM temp.fates AS fates
WHERE fates.fate = 'changed' AND documents.device = fates.device
AND documents.source = :source AND documents.until_revision IS NULL
"""

_NEW_DOCUMENTS = """
SELECT item, device, facts_hash FROM temp.fates JOIN temp.incoming USING (item)
WHERE fate IN ('added', 'changed') ORDER BY item
"""

_OPEN_DOCUMENT = """
INSERT INTO documents (device, source, since_revision, facts_hash, facts) VALUES (?, ?, ?, ?, ?)
"""

_CLOSE_SIGHTINGS = """
UPDATE sightings SET until_revision = :revision
FROM temp.fates AS fates JOIN temp.incoming AS incoming USING (item)
WHERE fates.fate IN ('changed', 'refreshed') AND sightings.device = fates.device
AND sightings.source = :source AND sightings.until_revision IS NULL
AND sightings.last_seen != incoming.last_seen
"""

_OPEN_SIGHTINGS = """
INSERT INTO sightings (device, source, since_revision, last_seen)
SELECT device, :source, :revision, last_seen
FROM temp.fates JOIN temp.incoming USING (item)
WHERE fate IN ('added', 'changed', 'refreshed') AND NOT EXISTS (
    SELECT 1 FROM sightings AS kept
    WHERE kept.device = fates.device AND kept.source = :source AND kept.until_revision IS NULL
)
"""

_CLOSE_SERIALS = """
DELETE FROM serials WHERE source = :source
AND device IN (SELECT device FROM temp.fates WHERE fate = 'changed')
"""

_OPEN_SERIALS = """
INSERT INTO serials (device, source, serial)
SELECT device, :source, serial FROM temp.fates JOIN temp.incoming USING (item)
WHERE fate IN ('added', 'changed') AND serial IS NOT NULL
"""

_CHANGES = (
    _CLOSE_SIGHTINGS,
    _OPEN_SIGHTINGS,
    _CLOSE_SERIALS,
    _OPEN_SERIALS,
)


def _apply(
    connection: sqlite3.Connection,
    waiting: Waiting,
    received: int,
    source: Source,
    now: datetime,
) -> IngestCounts:
    connection.execute(
        "INSERT OR IGNORE INTO device_names (name) SELECT name FROM temp.incoming"
        " WHERE name NOT IN (SELECT name FROM device_names) ORDER BY item"
    )
    number = _source_number(connection, source)
    connection.execute(_JUDGE, {"source": number})
    counts = _count(connection, received)
    if counts.added or counts.changed or counts.refreshed:
        detail = {"source": source.value, **asdict(counts)}
        revision = new_revision(connection, "ingested", detail, now=now)
        chosen = {"source": number, "revision": revision}
        connection.execute(_CLOSE_DOCUMENTS, chosen)
        new = _read_new(connection, waiting, number, revision)
        connection.executemany(_OPEN_DOCUMENT, new)
        for statement in _CHANGES:
            connection.execute(statement, chosen)
    return counts


def _read_new(
    connection: sqlite3.Connection, waiting: Waiting, source: int, revision: int
) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    """The rows of documents that begin, with their facts from where they wait."""
    rows = connection.execute(_NEW_DOCUMENTS)
    for block, some in groupby(rows, lambda row: row[0] // BLOCK_DEVICES):
        facts = waiting.read(block).each_facts()
        for item, device, digest in some:
            yield device, source, revision, digest, facts[item % BLOCK_DEVICES]


class _NotNew(Exception):  # noqa: N818 - it asks for another way, it is no error
    """A device came twice, or another ingest brought it meanwhile."""


def _welcome(
    connection: sqlite3.Connection,
    arrivals: Arrivals,
    received: int,
    source: Source,
    now: datetime,
    based_on: Mapping[str, str | None],
) -> IngestCounts | None:
    """`_apply` where every document is of a device that nobody knew; None if one is not."""
    counts = IngestCounts(received=received, added=received)
    detail = {"source": source.value, **asdict(counts)}
    with suppress(_NotNew), writing(connection):
        _check_bases(connection, source, based_on)
        revision = new_revision(connection, "ingested", detail, now=now)
        if not arrivals.move(source=_source_number(connection, source), revision=revision):
            raise _NotNew
        return counts
    return None


def _count(connection: sqlite3.Connection, received: int) -> IngestCounts:
    rows = connection.execute("SELECT fate, count(*) FROM temp.fates GROUP BY fate")
    fates: dict[str, int] = dict(rows.fetchall())
    return IngestCounts(received=received, duplicate=received - sum(fates.values()), **fates)


def _source_number(connection: sqlite3.Connection, source: Source) -> int:
    connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (source.value,))
    row = connection.execute("SELECT source FROM sources WHERE name = ?", (source.value,))
    number: int = row.fetchone()[0]
    return number
