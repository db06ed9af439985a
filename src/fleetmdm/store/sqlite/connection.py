"""Opening and creating the database file: whose it is, which version, with which rules it runs.

Rules for editors: a new database takes its name only when it is complete; an existing one is never
touched before it is known to be ours.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from clikit.output import sync_folder
from fleetmdm.store.codec import encode_stamp
from fleetmdm.store.failures import store_failure
from fleetmdm.store.migrations import Migration

APPLICATION_ID = 0x464C4D44
""""FLMD" in the file's header; `file` and other tools can tell it."""

FLEET_KEY_BYTES = 32

PAGE_BYTES = 8192
"""Of new databases: documents have a kilobyte or more, and fewer, larger pages cost less to write."""

_MAGIC = b"SQLite format 3\0"

BULK_CACHE_KIBIBYTES = 32 * 1024
"""Pages kept in memory while much is written, of the database and again of what is staged."""

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    # FULL: what a command has acknowledged survives a power cut, not only a crash.
    "PRAGMA synchronous = FULL",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = FILE",
)


def connect(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection to an existing file that is ours, whatever its version."""
    _check_file(path)
    connection = _connect_raw(path, busy_timeout_s)
    try:
        identity = connection.execute("PRAGMA application_id").fetchone()[0]
        if identity != APPLICATION_ID:
            raise store_failure("database_invalid", path, "another program's database")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        # A backup is one plain file; it gets its log when it is used where it can be written.
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


def create_file(path: Path, migrations: Sequence[Migration], *, now: datetime) -> None:
    """Make a new database; where another process was quicker, its database stands."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(_connect_raw(temporary, 0)) as connection:
            _fill(connection, migrations, now)
        # A hard link refuses to replace a database that appeared meanwhile; a rename would not.
        with suppress(FileExistsError):
            os.link(temporary, path)
        sync_folder(path.parent)
    finally:
        for leftover in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                temporary.with_name(temporary.name + leftover).unlink()


def _fill(connection: sqlite3.Connection, migrations: Sequence[Migration], now: datetime) -> None:
    # First: whatever else is said to a new database gives it pages.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    with writing(connection):
        apply_migrations(connection, migrations)
        connection.execute(
            "INSERT INTO revisions (at, kind, detail) VALUES (?, 'created', '{}')",
            (encode_stamp(now),),
        )
        connection.execute(
            "INSERT INTO properties (name, value) VALUES ('fleet_key', ?)",
            (secrets.token_bytes(FLEET_KEY_BYTES),),
        )


def read_fleet_key(connection: sqlite3.Connection) -> bytes:
    """The secret that was made with the database."""
    row = connection.execute("SELECT value FROM properties WHERE name = 'fleet_key'").fetchone()
    return bytes(row[0])


def apply_migrations(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Run migrations inside the caller's transaction and note the version."""
    for migration in migrations:
        for statement in migration.statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {migration.version}")


def cache_more(connection: sqlite3.Connection) -> None:
    """Keep more pages in memory from now on: for those who are about to write many rows."""
    for schema in ("main", "temp"):
        connection.execute(f"PRAGMA {schema}.cache_size = -{BULK_CACHE_KIBIBYTES}")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: it commits when the block ends well, else nothing of it stays."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def trusting(connection: sqlite3.Connection) -> Iterator[None]:
    """Foreign keys are not looked up: for many rows that name only what was read from the tables."""
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def staging(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction over temporary tables alone: no lock on the database is taken."""
    connection.execute("BEGIN DEFERRED")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect_raw(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise store_failure("database_not_found", path, "there is no database yet")
    if not path.is_file():
        raise store_failure("database_invalid", path, "not a regular file")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise store_failure("database_invalid", path, "not a database")
