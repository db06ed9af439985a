"""Revisions: the numbered changes of inventory and policies that intervals and runs refer to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetmdm.store.codec import encode_stamp

IN_FORCE = (
    "({0}.since_revision <= :revision"
    " AND ({0}.until_revision IS NULL OR {0}.until_revision > :revision))"
)
"""SQL: the rows of an interval table that hold at a revision; format it with the table's alias."""


def new_revision(
    connection: sqlite3.Connection, kind: str, detail: Mapping[str, Any], *, now: datetime
) -> int:
    """Number a change, inside the caller's transaction."""
    cursor = connection.execute(
        "INSERT INTO revisions (at, kind, detail) VALUES (?, ?, ?)",
        (encode_stamp(now), kind, json.dumps(detail, sort_keys=True)),
    )
    number = cursor.lastrowid
    if number is None:
        raise RuntimeError("SQLite gave the revision no number")
    return number


def latest_revision(connection: sqlite3.Connection) -> int:
    """The newest committed change."""
    number: int = connection.execute("SELECT max(revision) FROM revisions").fetchone()[0]
    return number
