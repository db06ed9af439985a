"""Structured logs on stderr, as text for people or as one JSON object a line for machines.

A record's own fields travel in `extra={"fields": {...}}`; nothing else of a record is printed, so
what is not put there on purpose cannot leak.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from datetime import UTC, datetime
from typing import Any, TextIO

from clikit.table import show_text

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={show_text(value)}" for key, value in _fields(record).items())
        message = show_text(record.getMessage())
        line = f"{_stamp(record)} {record.levelname.lower():7} {record.name}: {message}"
        return f"{line} {fields}".rstrip() + self._trace(record)

    def _trace(self, record: logging.LogRecord) -> str:
        return "\n" + self.formatException(record.exc_info) if record.exc_info else ""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _stamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(*, level: str, format: str, stream: TextIO, is_journal: bool = False) -> None:  # noqa: A002 - the flag's name
    """Send every logger of this process to `stream`; replaces an earlier configuration.

    To the journal each line says its severity: sd-daemon(3).
    """
    handler = logging.StreamHandler(stream)
    formatter = _JsonFormatter() if format == "json" else _TextFormatter()
    handler.setFormatter(_ForJournal(formatter) if is_journal else formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def leads_to_journal(stream: TextIO, journal_stream: str) -> bool:
    """Whether a stream is the journal's; `journal_stream` is JOURNAL_STREAM of systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def configure_syslog(*, level: str, ident: str, address: str = "/dev/log") -> None:
    """Send every logger of this process to the system's log, and nowhere if there is none."""
    root = logging.getLogger()
    root.handlers[:] = [_SystemLog(address, ident)]
    root.setLevel(level.upper())


_FACILITY_AUTH = 4
_SEVERITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""syslog(3)."""


class _ForJournal(logging.Formatter):
    """Another's lines, each with its severity before it, which the journal takes off."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_SEVERITIES.get(record.levelname, 6)}>"
        return "\n".join(mark + line for line in self._inner.format(record).split("\n"))


class _SystemLog(logging.Handler):
    """One datagram a record, as syslog(3) sends it.

    What the log does not take at once is dropped, for nobody may wait for it.
    """

    def __init__(self, address: str, ident: str) -> None:
        super().__init__()
        self._address = address
        self._ident = ident
        self.setFormatter(_LineFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        priority = _FACILITY_AUTH * 8 + _SEVERITIES.get(record.levelname, 6)
        line = f"<{priority}>{self._ident}[{os.getpid()}]: {self.format(record)}"
        # A connection of its own for each: the log's service may have been started anew.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.setblocking(False)
            log.sendto(line.encode(errors="replace"), self._address)


class _LineFormatter(logging.Formatter):
    """One line, without the time, which the log has."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={show_text(value)}" for key, value in _fields(record).items())
        return f"{show_text(record.getMessage())} {fields}".rstrip()
