"""Where the audit writer puts whole lines: a file that is rotated, stderr, syslog, the journal.

Rule for editors: a sink takes a batch whole or raises OSError and has taken none of it.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
from pathlib import Path
from typing import Protocol

from secretivex.audit.chain import Lines
from secretivex.errors import SecretiveError
from secretivex.server.audit.file_sink import FileSink, Place

SYSLOG_PATH = "/dev/log"
JOURNAL_PATH = "/run/systemd/journal/socket"

PATIENCE_S = 1.0
"""How long somebody else's reader may take before the write counts as failed and is tried again."""

_AUTHPRIV_INFO = 10 * 8 + 6
"""RFC 5424: facility authpriv, severity informational."""


class Sink(Protocol):
    """Takes batches of lines."""

    def write(self, batch: Lines) -> None:
        """Take whole lines, all of them or none."""
        ...

    def sync(self) -> None:
        """Make what was taken durable, where that means something."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether it is time for a new file."""
        ...

    @property
    def standing(self) -> str:
        """What stood there before: see `chain.hash_standing`."""
        ...

    @property
    def place(self) -> Place:
        """Whether what was written last is still where the log is looked for."""
        ...

    def rotate(self) -> None:
        """Rename what is full; `reopen` begins a new file."""
        ...

    def reopen(self) -> None:
        """Go on where the log is looked for."""
        ...

    def close(self) -> None:
        """Let go of it in this process."""
        ...


class _Loose:
    """What a sink does that keeps no file of its own: what is out cannot be taken back.

    So of a batch that is tried again only the rest is sent.
    """

    def __init__(self) -> None:
        self._begun = b""
        self._sent = 0

    def _take_up(self, batch: Lines) -> bytes:
        """Begin at the beginning, unless this batch failed half-way; gives a copy that stays."""
        if batch != self._begun:
            self._begun, self._sent = bytes(batch), 0
        return self._begun

    standing = ""
    place = Place.HERE
    is_full = False

    def sync(self) -> None:
        """Whose file it is sees to that."""

    def rotate(self) -> None:
        """Never."""

    def reopen(self) -> None:
        """Never."""


class StreamSink(_Loose):
    """A descriptor that somebody else looks after: stderr."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def write(self, batch: Lines) -> None:
        """Write out what was not written yet of this batch, as far as a reader takes it in time."""
        whole = self._take_up(batch)
        while self._sent < len(whole):
            if not select.select([], [self._descriptor], [], PATIENCE_S)[1]:
                raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
            # A pipe that is ready takes so much without waiting.
            part = whole[self._sent : self._sent + select.PIPE_BUF]
            self._sent += os.write(self._descriptor, part)
        self._begun = b""

    def close(self) -> None:
        """Our copy of it."""
        os.close(self._descriptor)


class DatagramSink(_Loose):
    """A logger that takes one datagram a line; what it took of a batch it is not sent again."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._socket: socket.socket | None = None
        self._send([])

    def frame(self, line: bytes) -> bytes:
        """A line as the logger wants it; as it is, unless a logger says otherwise."""
        return line

    def write(self, batch: Lines) -> None:
        """Send what was not sent yet of this batch."""
        self._send(self._take_up(batch).splitlines())
        self._begun = b""

    def _send(self, lines: list[bytes]) -> None:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                # A logger that hangs must not keep the writer from its end.
                self._socket.settimeout(PATIENCE_S)
                self._socket.connect(self._path)
            for line in lines[self._sent :]:
                self._socket.send(self.frame(line))
                self._sent += 1
        except OSError:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            raise

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
