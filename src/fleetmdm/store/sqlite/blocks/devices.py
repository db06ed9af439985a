"""Devices as they were at a revision, decoded; how many there were, and when they were seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from fleetmdm.device import Device, decode_facts, merge_snapshots
from fleetmdm.ingest.sources import rank_of
from fleetmdm.store.codec import encode_stamp, parse_stamp
from fleetmdm.store.sqlite.revisions import IN_FORCE

_DEVICES = f"""
SELECT names.name, sources.name, kept.facts, seen.last_seen
FROM device_names AS names
CROSS JOIN documents AS kept ON kept.device = names.device
JOIN sightings AS seen ON seen.device = kept.device AND seen.source = kept.source
JOIN sources ON sources.source = kept.source
WHERE {IN_FORCE.format("kept")} AND {IN_FORCE.format("seen")}
{{chosen}}
ORDER BY names.name
"""  # noqa: S608 - constants of this package, no value from outside


def read_devices(
    connection: sqlite3.Connection, revision: int, *, device_id: str | None = None
) -> Iterator[Device]:
    """Devices as they were at a revision, in the order of their ids."""
    # Of one device by its key: a condition that may be none would look at all of them.
    sql = _DEVICES.format(chosen="" if device_id is None else "AND names.name = :name")
    rows = connection.execute(sql, {"revision": revision, "name": device_id})
    for _name, snapshots in groupby(rows, key=itemgetter(0)):
        ranked = sorted(snapshots, key=lambda row: rank_of(row[1]))
        yield merge_snapshots([decode_facts(row[2], parse_stamp(row[3])) for row in ranked])


_LAST_SEEN = f"""
SELECT names.name, max(seen.last_seen)
FROM device_names AS names CROSS JOIN sightings AS seen ON seen.device = names.device
WHERE {IN_FORCE.format("seen")}
GROUP BY names.name ORDER BY names.name
"""  # noqa: S608 - constants of this package, no value from outside


def read_last_seen(connection: sqlite3.Connection, revision: int) -> Iterator[tuple[str, datetime]]:
    """When each device was last seen, as known at a revision, by id."""
    for name, stamp in connection.execute(_LAST_SEEN, {"revision": revision}):
        yield name, parse_stamp(stamp)


def any_seen_before(connection: sqlite3.Connection, revision: int, moment: datetime) -> bool:
    """Whether any source last saw a device before a moment, as known at a revision."""
    sql = f"SELECT 1 FROM sightings AS seen WHERE last_seen <= :stamp AND {IN_FORCE.format('seen')}"  # noqa: S608 - constants of this package
    wanted = {"revision": revision, "stamp": encode_stamp(moment)}
    return connection.execute(f"{sql} LIMIT 1", wanted).fetchone() is not None


def count_devices(connection: sqlite3.Connection, revision: int) -> int:
    """How many devices there were at a revision."""
    # A source has a sighting wherever it has a document, and it is the smaller row. Sightings are in
    # the order of devices, but count(DISTINCT device) would gather all numbers to tell.
    sql = f"SELECT DISTINCT device FROM sightings AS seen WHERE {IN_FORCE.format('seen')}"  # noqa: S608 - constants of this package
    sql = f"SELECT count(*) FROM ({sql})"  # noqa: S608 - constants of this package
    number: int = connection.execute(sql, {"revision": revision}).fetchone()[0]
    return number


def has_devices(connection: sqlite3.Connection, revision: int) -> bool:
    """Whether there was any device at a revision."""
    sql = f"SELECT EXISTS (SELECT 1 FROM sightings AS seen WHERE {IN_FORCE.format('seen')})"  # noqa: S608 - constants of this package
    return bool(connection.execute(sql, {"revision": revision}).fetchone()[0])
