"""The audit log as a file: only appended to, by one agent, renamed when it is full.

The file is looked for under its name before each batch, so that one which somebody renamed, removed
or emptied (logrotate in its ways, or an intruder) is noticed before anything is lost in it. Rule for
editors: a batch is taken whole or not at all; nothing but a regular file of our own is written to.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import stat
from pathlib import Path

from clikit.output import sync_folder
from secretivex.audit.chain import Lines, standing_of

_FIRST_LOOK_BYTES = 64 * 1024
_LONGEST_LOOK_BYTES = 16 * 1024 * 1024
"""A batch is shorter than that, so the last seal is not further from the end."""


class Place(enum.Enum):
    """Where the file is that was written to last."""

    HERE = enum.auto()
    RENAMED = enum.auto()
    EMPTIED = enum.auto()
    REMOVED = enum.auto()


def open_own(path: Path, flags: int) -> int:
    """Open a file that is ours alone to write, made if there is none; raises OSError."""
    more = os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags | more, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if found.st_uid not in (os.geteuid(), 0):
            raise OSError(errno.EPERM, "it belongs to another user")
        if found.st_mode & 0o022:
            raise OSError(errno.EPERM, "others may write to it (chmod go-w)")
    except BaseException:
        os.close(file)
        raise
    return file


class FileSink:
    """A file that only grows until it is full, then is renamed; only one agent writes to it.

    `standing` is what stood in it when it was opened, for the chain that goes on there; "" if that
    was nothing.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._file, self._size = self._open()
        try:
            self._end_line()
            self.standing = self._read_standing()
        except BaseException:
            os.close(self._file)
            raise

    def _open(self) -> tuple[int, int]:
        """The file under its name and its size; raises OSError, BlockingIOError if it is taken."""
        file = open_own(self._path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(self._path.parent)
            return file, os.fstat(file).st_size
        except BaseException:
            os.close(file)
            raise

    def _end_line(self) -> None:
        """Let a line that a power cut tore stand alone."""
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self.write(b"\n")

    def _read_standing(self) -> str:
        """What the file ends with; so much of it is read as has a seal in it."""
        length = _FIRST_LOOK_BYTES
        while self._size:
            start = max(0, self._size - length)
            tail = os.pread(self._file, length, start)
            standing = standing_of(tail, is_whole=not start)
            if standing or length > _LONGEST_LOOK_BYTES:
                return standing
            length *= 4
        return ""

    @property
    def place(self) -> Place:
        """Where the file is now."""
        ours = os.fstat(self._file)
        if not ours.st_nlink:
            return Place.REMOVED
        if ours.st_size < self._size:
            return Place.EMPTIED
        try:
            named = os.lstat(self._path)
        except FileNotFoundError:
            return Place.RENAMED
        is_same = (named.st_ino, named.st_dev) == (ours.st_ino, ours.st_dev)
        return Place.HERE if is_same else Place.RENAMED

    def write(self, batch: Lines) -> None:
        """Append; what a full disk took of it is cut off again."""
        view = memoryview(batch)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            if os.fstat(self._file).st_size > self._size:
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(batch)

    def sync(self) -> None:
        """To the disk."""
        os.fdatasync(self._file)

    @property
    def is_full(self) -> bool:
        """Whether it has reached its size."""
        return self._size >= self._max_bytes

    def rotate(self) -> None:
        """Shift the older files by one and rename this one; `reopen` begins the next."""
        self.sync()
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def reopen(self) -> None:
        """Go on in the file that is under the name now; the one before is kept if that fails."""
        self.sync()
        if self.place is Place.EMPTIED:
            self._size = os.fstat(self._file).st_size
        else:
            file, size = self._open()
            os.close(self._file)
            self._file, self._size = file, size
        self._end_line()

    def close(self) -> None:
        """Let go; a forked writer still holds the file and its lock."""
        os.close(self._file)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
