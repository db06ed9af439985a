"""Structured logs on stderr, as text for people or as one JSON object a line for machines.

A record's own fields travel in `extra={"fields": {...}}`; nothing else of a record is printed, so
what is not put there on purpose cannot leak.
"""

from __future__ import annotations

import json
import logging
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


def configure(*, level: str, format: str, stream: TextIO) -> None:  # noqa: A002 - the flag's name
    """Send every logger of this process to `stream`; replaces an earlier configuration."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
