"""What came in before a run and what was taken out: the numbers behind its population."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import fields

from fleetmdm.store.codec import parse_stamp
from fleetmdm.store.port import IngestCounts, Intake, Retired
from fleetmdm.store.sqlite.revisions import IN_FORCE

_DOCUMENTS = f"SELECT count(*) FROM documents AS d WHERE {IN_FORCE.format('d')}"  # noqa: S608 - no text but ours

_RETIRED = f"""
SELECT r.detail, r.at FROM revisions AS r
WHERE r.kind = 'retired' AND r.revision <= :revision AND NOT EXISTS (
    SELECT 1 FROM device_names AS n JOIN documents AS d USING (device)
    WHERE n.name = json_extract(r.detail, '$.device_id') AND {IN_FORCE.format("d")}
)
ORDER BY r.revision
"""  # noqa: S608 - no text but ours


def read_intake(connection: sqlite3.Connection, revision: int) -> Intake:
    """The sums over every ingest that changed something, and the documents in force."""
    names = [field.name for field in fields(IngestCounts)]
    totals = dict.fromkeys(names, 0)
    rows = connection.execute(
        "SELECT detail FROM revisions WHERE kind = 'ingested' AND revision <= ?", (revision,)
    )
    for (detail,) in rows:
        said = json.loads(detail)
        for name in names:
            totals[name] += said.get(name, 0)
    (documents,) = connection.execute(_DOCUMENTS, {"revision": revision}).fetchone()
    return Intake(IngestCounts(**totals), documents)


def read_retired(connection: sqlite3.Connection, revision: int) -> Iterator[Retired]:
    """Devices that had left by a revision and had not come back, by id; the last leaving counts."""
    left = {
        json.loads(detail)["device_id"]: parse_stamp(at)
        for detail, at in connection.execute(_RETIRED, {"revision": revision})
    }
    for device_id in sorted(left):
        yield Retired(device_id, left[device_id])
