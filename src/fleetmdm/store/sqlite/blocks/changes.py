"""Which devices changed between two revisions: what a check has to look at again."""

from __future__ import annotations

import sqlite3

import numpy as np
import numpy.typing as npt

_DOCUMENTS = """
SELECT device, since_revision FROM documents
WHERE since_revision > :before AND since_revision <= :after
UNION ALL
SELECT device, until_revision FROM documents
WHERE until_revision > :before AND until_revision <= :after
ORDER BY device
"""

_SIGHTINGS = """
SELECT DISTINCT device FROM sightings
WHERE since_revision > :before AND since_revision <= :after
"""


class Changes:
    """Devices whose documents changed, came or went after one revision, up to another."""

    def __init__(self, connection: sqlite3.Connection, before: int, after: int) -> None:
        rows = connection.execute(_DOCUMENTS, {"before": before, "after": after}).fetchall()
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
        self._devices: npt.NDArray[np.int64] = table[:, 0]
        self._revisions: npt.NDArray[np.int64] = table[:, 1]

    def among(self, first: int, last: int, *, after: int) -> set[int]:
        """Those with numbers in a range that changed after a revision."""
        begin, end = np.searchsorted(self._devices, (first, last + 1)).tolist()
        late = self._revisions[begin:end] > after
        return set(self._devices[begin:end][late].tolist())


def read_changed_devices(connection: sqlite3.Connection, before: int, after: int) -> set[int]:
    """All devices that `Changes` knows of, for who asks nothing else."""
    rows = connection.execute(_DOCUMENTS, {"before": before, "after": after})
    return {device for device, _ in rows}


def read_seen(connection: sqlite3.Connection, before: int, after: int) -> set[int]:
    """Devices that were seen again after one revision, up to another."""
    rows = connection.execute(_SIGHTINGS, {"before": before, "after": after})
    return {device for (device,) in rows}
