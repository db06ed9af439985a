"""The one place where errors of SQLite and of the system become FleetMDM's.

Rule for editors: an error that is not in the table is our bug and goes through as it is.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleetmdm.errors import FleetError

_PRIMARY: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "database_locked",
    sqlite3.SQLITE_LOCKED: "database_locked",
    sqlite3.SQLITE_PROTOCOL: "database_locked",
    sqlite3.SQLITE_READONLY: "database_read_only",
    sqlite3.SQLITE_PERM: "database_read_only",
    sqlite3.SQLITE_AUTH: "database_read_only",
    sqlite3.SQLITE_CANTOPEN: "database_read_only",
    sqlite3.SQLITE_CORRUPT: "database_invalid",
    sqlite3.SQLITE_NOTADB: "database_invalid",
    sqlite3.SQLITE_FORMAT: "database_invalid",
    sqlite3.SQLITE_IOERR: "database_read_only",
}
"""Codes by SQLite's primary result code (https://www.sqlite.org/rescode.html)."""

_EXTENDED: Mapping[int, str] = {
    # write(2) that fails for want of room: SQLite says FULL for ENOSPC alone, and a plain write
    # error for a quota or a file-size limit.
    sqlite3.SQLITE_IOERR_WRITE: "disk_full",
    sqlite3.SQLITE_IOERR_SHMSIZE: "disk_full",
    sqlite3.SQLITE_IOERR_TRUNCATE: "disk_full",
    sqlite3.SQLITE_IOERR_SHORT_READ: "database_invalid",
    sqlite3.SQLITE_IOERR_CORRUPTFS: "database_invalid",
    sqlite3.SQLITE_IOERR_DATA: "database_invalid",
}

_SYSTEM: Mapping[int, str] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EROFS: "database_read_only",
    errno.EACCES: "database_read_only",
    errno.EPERM: "database_read_only",
    errno.ENOENT: "database_not_found",
    errno.ENOTDIR: "database_not_found",
    errno.EISDIR: "database_invalid",
}

HINTS: Mapping[str, str] = {
    "disk_full": "free some space, or raise the quota or file-size limit, and run it again",
    "database_locked": "another fleetmdm is writing; wait for it and run this again",
    "database_read_only": "check the permissions of the file and of its folder",
    "database_invalid": "restore a backup, or name another file with --db",
    "database_not_found": "make it with `fleetmdm init`, or name another file with --db",
    "database_too_new": "update fleetmdm; this version only reads what it knows",
}
"""What helps, by code."""


def store_failure(code: str, path: Path, message: str) -> FleetError:
    """A failure of the database at `path`."""
    return FleetError(code, f"{path}: {message}", hint=HINTS[code], details={"path": str(path)})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate what SQLite says of the database at `path` while the block runs."""
    try:
        yield
    except sqlite3.Error as error:
        code = _sqlite_code(error)
        if code is None:
            raise
        # SQLite calls a write that a limit stopped an I/O error, which sends people the wrong way.
        said = f"no room to write ({error})" if code == "disk_full" else str(error)
        raise store_failure(code, path, said) from error


@contextmanager
def translated_files(path: Path) -> Iterator[None]:
    """`translated`, for blocks that open, make and move files themselves."""
    try:
        with translated(path):
            yield
    except OSError as error:
        code = _SYSTEM.get(error.errno or 0)
        if code is None:
            raise
        raise store_failure(code, path, error.strerror or str(error)) from error


def _sqlite_code(error: sqlite3.Error) -> str | None:
    number: int | None = getattr(error, "sqlite_errorcode", None)
    if number is None:
        return None
    return _EXTENDED.get(number) or _PRIMARY.get(number & 0xFF)
