"""Bringing an older database to this version: a backup first, then all or nothing.

Rule for editors: forward only; a newer database is refused and never written to.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from clikit.output import sync_folder
from fleetmdm.store.failures import store_failure, translated_files
from fleetmdm.store.migrations import Migration
from fleetmdm.store.sqlite.connection import apply_migrations, connect, writing


def upgrade(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, now: datetime
) -> None:
    """Apply the migrations that the database lacks. Raises `database_too_new`."""
    latest = migrations[-1].version
    if _version(connection, path, latest) == latest:
        return
    # Foreign keys cannot be switched inside a transaction, and a rebuilt table needs them off.
    connection.execute("PRAGMA foreign_keys = OFF")
    with writing(connection):
        version = _version(connection, path, latest)
        if version < latest:
            back_up(path, backup_path(path, version, now))
            apply_migrations(connection, [one for one in migrations if one.version > version])
            if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise store_failure("database_invalid", path, "rows refer to rows that are gone")
    connection.execute("PRAGMA foreign_keys = ON")


def backup_path(path: Path, version: int, now: datetime) -> Path:
    """Where the database of an older version is kept."""
    return path.with_name(f"{path.name}.v{version}-{now:%Y%m%dT%H%M%S}.backup")


def back_up(path: Path, target: Path) -> None:
    """A consistent copy of the committed content, complete under its name or not there at all."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with (
            closing(connect(path, busy_timeout_s=0)) as source,
            closing(sqlite3.connect(temporary, isolation_level=None)) as copy,
        ):
            source.backup(copy)
            # One file, complete in itself, on any medium.
            copy.execute("PRAGMA journal_mode = DELETE")
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_version(path: Path) -> int:
    """The schema version of the database at `path`, which is not touched."""
    with translated_files(path), closing(connect(path, busy_timeout_s=0)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _version(connection: sqlite3.Connection, path: Path, latest: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > latest:
        message = f"schema version {version}; this program knows up to {latest}"
        raise store_failure("database_too_new", path, message)
    return version
