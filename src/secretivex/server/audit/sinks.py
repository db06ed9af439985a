"""Where the audit writer puts whole lines: a file that is rotated, stderr, syslog, the journal.

Rule for editors: a sink takes a batch whole or raises OSError and has taken none of it.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from pathlib import Path
from typing import Protocol

from clikit.output import sync_folder
from secretivex.errors import SecretiveError

SYSLOG_PATH = "/dev/log"
JOURNAL_PATH = "/run/systemd/journal/socket"

_AUTHPRIV_INFO = 10 * 8 + 6
"""RFC 5424: facility authpriv, severity informational."""


class Sink(Protocol):
    """Takes batches of lines."""

    def write(self, batch: bytes) -> None:
        """Take whole lines, all of them or none."""
        ...

    def sync(self) -> None:
        """Make what was taken durable, where that means something."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether it is time for a new file."""
        ...

    def rotate(self) -> None:
        """Start a new file."""
        ...

    def close(self) -> None:
        """Let go of it in this process."""
        ...


class FileSink:
    """A file that only grows until it is full, then is renamed; only one agent writes to it."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = os.fstat(self._file).st_size
            if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
                # A power cut tore the last line: let it stand alone.
                self.write(b"\n")
        except BaseException:
            os.close(self._file)
            raise

    def write(self, batch: bytes) -> None:
        """Append; what a full disk took of it is cut off again."""
        view = memoryview(batch)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
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
        """Shift the older files by one and start a new one."""
        self.sync()
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        os.close(self._file)
        self._open()
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Let go; a forked writer still holds the file and its lock."""
        os.close(self._file)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class StreamSink:
    """A descriptor that somebody else looks after: stderr."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, batch: bytes) -> None:
        """Write it out."""
        view = memoryview(batch)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        """Nothing to do."""

    is_full = False

    def rotate(self) -> None:
        """Never."""

    def close(self) -> None:
        """Our copy of it."""
        os.close(self._descriptor)


class DatagramSink:
    """A logger that takes one datagram a line; what it took of a batch it is not sent again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._sent = 0
        self._send([])

    def frame(self, line: bytes) -> bytes:
        """A line as the logger wants it; as it is, unless a logger says otherwise."""
        return line

    def write(self, batch: bytes) -> None:
        """Send what was not sent yet of this batch."""
        self._send(batch.splitlines())

    def _send(self, lines: list[bytes]) -> None:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.connect(self._path)
            for line in lines[self._sent :]:
                self._socket.send(self.frame(line))
                self._sent += 1
        except OSError:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            raise
        self._sent = 0

    def sync(self) -> None:
        """The logger's own affair."""

    is_full = False

    def rotate(self) -> None:
        """The logger's own affair."""

    def close(self) -> None:
        """Hang up; a forked writer's socket stays."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class SyslogSink(DatagramSink):
    """The traditional system logger, at /dev/log."""

    def frame(self, line: bytes) -> bytes:
        """RFC 3164's priority and tag, which every local logger takes."""
        return b"<%d>secretive-agent[%d]: %s" % (_AUTHPRIV_INFO, os.getpid(), line)


class JournalSink(DatagramSink):
    """The systemd journal, in its native protocol."""

    def frame(self, line: bytes) -> bytes:
        """Fields, one a line; a record has no line end inside."""
        event = re.search(rb'"event":"([a-z_]+)"', line)
        name = event[1] if event else b""
        return (
            b"MESSAGE=%s\nPRIORITY=6\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER=secretive-agent\n"
            b"SECRETIVE_EVENT=%s\n" % (line, name)
        )


def open_sink(target: str, path: Path | None, *, max_bytes: int, keep: int) -> Sink:
    """The sink that a configuration names; raises `SecretiveError` with `audit_failed`."""
    try:
        if target == "file" and path is not None:
            return FileSink(path, max_bytes=max_bytes, keep=keep)
        if target == "syslog":
            return SyslogSink(SYSLOG_PATH)
        if target == "journald":
            return JournalSink(JOURNAL_PATH)
        return StreamSink(os.dup(2))
    except BlockingIOError as error:
        raise SecretiveError(
            "audit_failed",
            f"another agent writes the audit log {path}",
            hint="give each agent an audit_path of its own",
        ) from error
    except OSError as error:
        where = path if target == "file" else target
        raise SecretiveError(
            "audit_failed",
            f"cannot write the audit log {where}: {error.strerror}",
            hint="correct audit_path or its folder's permissions, or set audit_to",
        ) from error
