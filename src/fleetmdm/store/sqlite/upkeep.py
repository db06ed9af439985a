"""Looking after the file: what is wrong with it, how large it is, making it smaller."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from fleetmdm.store.sqlite.blocks.audit import find_derived_problems

_MAX_PROBLEMS = 100


def find_problems(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    """Sentences about damage and loose references; none when all is well."""
    for (text,) in connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if text != "ok":
            yield str(text)
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{table} row {row} refers to a row of {parent} that is gone"
    yield from _find_broken_intervals(connection)
    yield from find_derived_problems(connection)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield f"others may read the file: its mode is {mode:04o} and should be 0600"


def _find_broken_intervals(connection: sqlite3.Connection) -> Iterator[str]:
    for table, since, until in (
        ("documents", "since_revision", "until_revision"),
        ("sightings", "since_revision", "until_revision"),
        ("policies", "since_revision", "until_revision"),
        ("assignments", "since_revision", "until_revision"),
        ("statements", "since_revision", "until_revision"),
        ("results", "since_run", "until_run"),
    ):
        sql = f"SELECT count(*) FROM {table} WHERE {until} <= {since}"  # noqa: S608 - names from the table above
        count = connection.execute(sql).fetchone()[0]
        if count:
            yield f"{table} has {count} intervals that end before they begin"


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has, by name."""
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        " ORDER BY name"
    ).fetchall()
    counts = {}
    for (name,) in names:
        row = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - a name from the schema itself
        counts[name] = int(row[0])
    return counts


def compact(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Give free pages back; the file's size before and after, in bytes."""
    before = path.stat().st_size
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, path.stat().st_size
