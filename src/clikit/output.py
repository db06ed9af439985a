"""Files that appear whole or not at all: temporary sibling, fsync, rename, fsync of the folder.

Rule for editors: nothing here prints, and no path is ever opened for writing under its own name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clikit.errors import Failure

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when there is no room: device, quota, file-size limit."""


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o600, is_exact: bool = False) -> Iterator[BinaryIO]:
    """A file to write; it takes the name `path` when the block ends well, else leaves no trace.

    `is_exact`: `mode` holds whatever the umask is, for a file that another user is to read. Raises
    `Failure` with `disk_full` or `output_failed`.
    """
    if path.is_dir():
        raise Failure("output_failed", f"{path} is a folder", hint="name a file")
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if is_exact:
                    os.fchmod(descriptor, mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise write_failure(path, error) from error


def write_atomic(
    path: Path, chunks: Iterable[bytes], *, mode: int = 0o600, is_exact: bool = False
) -> None:
    """Write `chunks` to `path`, whole or not at all. Errors are those of `atomic_file`."""
    with atomic_file(path, mode=mode, is_exact=is_exact) as file:
        for chunk in chunks:
            file.write(chunk)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable; a no-op where folders cannot be opened."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_failure(path: Path, error: OSError) -> Failure:
    """The failure that stands for an `OSError` met while writing `path`."""
    if error.errno in FULL:
        return Failure(
            "disk_full",
            f"cannot write {path}: {error.strerror}",
            hint="free some space, or raise the quota or file-size limit, and run it again",
            details={"path": str(path)},
        )
    return Failure(
        "output_failed",
        f"cannot write {path}: {error.strerror or error}",
        hint="check that the folder exists and that you may write there",
        details={"path": str(path)},
    )
