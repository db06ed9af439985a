"""Looking after the file: what is wrong with it, how large it is, making it smaller."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from fleetmdm.errors import FleetError
from fleetmdm.store.failures import translated, translated_files
from fleetmdm.store.sqlite import ledger, runs
from fleetmdm.store.sqlite.connection import read_fleet_key, writing
from fleetmdm.store.sqlite.recording.findings import find_loose_findings
from fleetmdm.store.sqlite.upgrade import back_up

_MAX_PROBLEMS = 100


def find_problems(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    """Sentences about damage and loose references; none when all is well."""
    from fleetmdm.store.sqlite.blocks.audit import find_derived_problems

    for (text,) in connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if text != "ok":
            yield str(text)
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{table} row {row} refers to a row of {parent} that is gone"
    yield from _find_broken_intervals(connection)
    yield from find_loose_findings(connection)
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


class SqliteUpkeep:
    """`UpkeepStore` over SQLite; every method translates errors, iterators included."""

    _connection: sqlite3.Connection
    _path: Path

    def append_leaf(self, leaf: bytes) -> int:
        """Append one leaf to the ledger."""
        with translated(self._path), writing(self._connection):
            return ledger.append_leaf(self._connection, leaf)

    def leaves(self) -> Iterator[bytes]:
        """Every leaf in order."""
        with translated(self._path):
            yield from ledger.read_leaves(self._connection)

    def leaf_of_run(self, run_id: int) -> int:
        """The index of the leaf that a run appended."""
        with translated(self._path):
            return runs.leaf_of(self._connection, run_id)

    def fleet_key(self) -> bytes:
        """The fleet's secret, made with the database."""
        with translated(self._path):
            return read_fleet_key(self._connection)

    def find_problems(self) -> Iterator[str]:
        """Damage, loose references and loose permissions."""
        with translated_files(self._path):
            yield from find_problems(self._connection, self._path)

    def row_counts(self) -> dict[str, int]:
        """How many rows each table has."""
        with translated(self._path):
            return count_rows(self._connection)

    def compact(self) -> tuple[int, int]:
        """Give unused space back."""
        with translated_files(self._path):
            return compact(self._connection, self._path)

    def back_up(self, target: Path) -> None:
        """Write a consistent copy."""
        if target.exists():
            raise FleetError("output_exists", f"{target} exists", hint="name a new file")
        with translated_files(target):
            back_up(self._path, target)
