"""What people say of devices (their tags), and which devices claim to be the same machine.

Tags that people give are the snapshot of a source of their own, `operator`, so that they are
versioned and pinned by runs as every other document is.
Rule for editors: read and write tags within one transaction; two people may tag at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime

from fleetmdm.device import UNKNOWN, Device, decode_facts, is_placeholder
from fleetmdm.errors import FleetError
from fleetmdm.ingest.sources import Source
from fleetmdm.store.codec import parse_stamp
from fleetmdm.store.port import MAX_CONFLICTING, SerialConflict
from fleetmdm.store.sqlite.blocks.devices import read_devices
from fleetmdm.store.sqlite.connection import writing
from fleetmdm.store.sqlite.revisions import latest_revision, new_revision

_IDS = """
SELECT name FROM device_names AS names
WHERE name >= :prefix AND name < :prefix || char(1114111) AND EXISTS (
    SELECT 1 FROM documents WHERE documents.device = names.device AND until_revision IS NULL
)
ORDER BY name LIMIT :limit
"""


def read_device_ids(connection: sqlite3.Connection, *, prefix: str, limit: int) -> Iterator[str]:
    """Ids of current devices that begin so; 0 is all."""
    for (name,) in connection.execute(_IDS, {"prefix": prefix, "limit": limit or -1}):
        yield name


_SNAPSHOT = """
SELECT kept.facts, seen.last_seen
FROM device_names AS names
JOIN documents AS kept USING (device)
JOIN sightings AS seen USING (device, source)
JOIN sources USING (source)
WHERE names.name = ? AND sources.name = ?
AND kept.until_revision IS NULL AND seen.until_revision IS NULL
"""


def read_snapshot(connection: sqlite3.Connection, device_id: str, source: Source) -> Device | None:
    """What one source says of a current device."""
    row = connection.execute(_SNAPSHOT, (device_id, source.value)).fetchone()
    return None if row is None else decode_facts(row[0], parse_stamp(row[1]))


def tag_device(
    connection: sqlite3.Connection,
    device_id: str,
    *,
    add: Collection[str],
    remove: Collection[str],
    now: datetime,
) -> Device:
    """Change what people say; answers the device as it is then. Raises `device_not_found`."""
    from fleetmdm.store.sqlite.inventory import put_within

    with put_within(connection) as put:
        device = _current(connection, device_id)
        kept = read_snapshot(connection, device_id, Source.OPERATOR)
        before = set(kept.tags) if kept else set()
        fixed = (set(device.tags) - before) & set(remove)
        if fixed:
            names = ", ".join(sorted(fixed))
            hint = "take them out where they come from, and ingest again"
            message = f"{device_id} has these tags from its documents: {names}"
            raise FleetError("tag_not_removable", message, hint=hint)
        tags = tuple(sorted((before | set(add)) - set(remove)))
        if tags != tuple(sorted(before)):
            said = Device(device_id, device_id, UNKNOWN, UNKNOWN, None, device.last_seen, {}, tags)
            put(said, Source.OPERATOR, now)
        return _current(connection, device_id)


def _current(connection: sqlite3.Connection, device_id: str) -> Device:
    revision = latest_revision(connection)
    device = next(read_devices(connection, revision, device_id=device_id), None)
    if device is None:
        hint = "see `fleetmdm device list`"
        raise FleetError(
            "device_not_found",
            f"no device has the id '{device_id}'",
            hint=hint,
            details={"device_id": device_id},
        )
    return device


def retire_device(connection: sqlite3.Connection, device_id: str, *, now: datetime) -> None:
    """End what every source says of a device. Raises `device_not_found`."""
    with writing(connection):
        row = connection.execute(
            "SELECT device FROM device_names JOIN documents USING (device)"
            " WHERE name = ? AND until_revision IS NULL",
            (device_id,),
        ).fetchone()
        if row is None:
            raise FleetError(
                "device_not_found",
                f"no device has the id '{device_id}'",
                hint="see `fleetmdm device list`",
                details={"device_id": device_id},
            )
        revision = new_revision(connection, "retired", {"device_id": device_id}, now=now)
        for table in ("documents", "sightings"):
            connection.execute(
                f"UPDATE {table} SET until_revision = ? WHERE device = ? AND until_revision IS NULL",  # noqa: S608 - table names from the line above
                (revision, row[0]),
            )
        connection.execute("DELETE FROM serials WHERE device = ?", (row[0],))


_SHARED = """
SELECT serial, count(DISTINCT device) FROM serials
GROUP BY serial HAVING min(device) < max(device) ORDER BY serial
"""

_CLAIMING = """
SELECT DISTINCT names.name FROM serials JOIN device_names AS names USING (device)
WHERE serial = ? ORDER BY names.name LIMIT ?
"""


def read_serial_conflicts(connection: sqlite3.Connection) -> Iterator[SerialConflict]:
    """Serial numbers that several devices claim."""
    for serial, count in connection.execute(_SHARED):
        if not is_placeholder(serial):
            names = connection.execute(_CLAIMING, (serial, MAX_CONFLICTING))
            yield SerialConflict(serial, tuple(name for (name,) in names), count)
