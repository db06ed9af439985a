"""The ledger's leaves. The schema's triggers see to it that they are only ever appended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


def append_leaf(connection: sqlite3.Connection, leaf: bytes) -> int:
    """Append inside the caller's transaction; answers the index, from 0."""
    cursor = connection.execute(
        "INSERT INTO leaves (leaf, data) SELECT coalesce(max(leaf) + 1, 0), ? FROM leaves"
        " RETURNING leaf",
        (leaf,),
    )
    index: int = cursor.fetchone()[0]
    return index


def read_leaves(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Every leaf in order."""
    for (data,) in connection.execute("SELECT data FROM leaves ORDER BY leaf"):
        yield data
