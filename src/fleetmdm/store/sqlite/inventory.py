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

from fleetmdm.device import Device
from fleetmdm.ingest.sources import Source
from fleetmdm.store.incoming import BlockSource, IncomingBlock, IncomingRows, device_blocks
from fleetmdm.store.port import IngestCounts, SnapshotOvertaken
from fleetmdm.store.sqlite.blocks.arrivals import Arrivals
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
    with _tables(connection), closing(Arrivals(connection)) as arrivals:
        received = 0
        for block in blocks(arrivals.fit):
            _stage(connection, block, arrivals)
            received += len(block.device_ids)
        if arrivals.worthwhile():
            counts = _welcome(connection, arrivals, received, source, now, based_on)
            if counts is not None:
                return counts
        _stage_waiting(connection, arrivals)
        with writing(connection):
            _check_bases(connection, source, based_on)
            return _apply(connection, received, source, now)


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
            _stage_rows(connection, block.rows())
        return _apply(connection, 1, source, now)

    with _tables(connection), writing(connection):
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


# What is large comes last, and what is found out about it has a table of its own: large rows are
# written once and never rewritten.
_INCOMING = """
CREATE TABLE temp.incoming (
    item INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_seen TEXT NOT NULL,
    serial TEXT,
    facts_hash BLOB NOT NULL,
    facts BLOB NOT NULL
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
INSERT INTO temp.incoming (name, last_seen, serial, facts_hash, facts) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    last_seen = excluded.last_seen, serial = excluded.serial,
    facts_hash = excluded.facts_hash, facts = excluded.facts
WHERE excluded.last_seen >= last_seen
"""


def _stage(connection: sqlite3.Connection, block: IncomingBlock, arrivals: Arrivals) -> None:
    with staging(connection):
        if arrivals.take(block):
            return
    _stage_waiting(connection, arrivals)
    with staging(connection):
        _stage_rows(connection, block.rows())


def _stage_waiting(connection: sqlite3.Connection, arrivals: Arrivals) -> None:
    with staging(connection):
        for rows in arrivals.drain():
            _stage_rows(connection, rows)


def _stage_rows(connection: sqlite3.Connection, rows: IncomingRows) -> None:
    each = (rows.device_ids, rows.last_seen, rows.serials, rows.each_hash(), rows.each_facts())
    connection.executemany(_STAGE, zip(*each, strict=True))


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

_OPEN_DOCUMENTS = """
INSERT INTO documents (device, source, since_revision, facts_hash, facts)
SELECT device, :source, :revision, facts_hash, facts
FROM temp.fates JOIN temp.incoming USING (item)
WHERE fate IN ('added', 'changed')
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
    _CLOSE_DOCUMENTS,
    _OPEN_DOCUMENTS,
    _CLOSE_SIGHTINGS,
    _OPEN_SIGHTINGS,
    _CLOSE_SERIALS,
    _OPEN_SERIALS,
)


def _apply(
    connection: sqlite3.Connection, received: int, source: Source, now: datetime
) -> IngestCounts:
    connection.execute(
        "INSERT OR IGNORE INTO device_names (name) SELECT name FROM temp.incoming"
        " WHERE name NOT IN (SELECT name FROM device_names)"
    )
    number = _source_number(connection, source)
    connection.execute(_JUDGE, {"source": number})
    counts = _count(connection, received)
    if counts.added or counts.changed or counts.refreshed:
        detail = {"source": source.value, **asdict(counts)}
        revision = new_revision(connection, "ingested", detail, now=now)
        for statement in _CHANGES:
            connection.execute(statement, {"source": number, "revision": revision})
    return counts


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
