"""Audit records: one JSON object a line, with the same names whatever happened.

A record tells who asked (uid, pid, program), for which key (its fingerprint), towards which
destination, which rule decided and what came of it. Rule for editors: no payload, signature, key
material or comment ever gets into a record; every text from outside passes `quote`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 512
"""Longest text from outside that a record holds, in characters; the rest is cut."""

MAX_QUOTED = 1024
"""The same, escaped and in quotation marks: three of them leave room in a record for the rest."""

_WIDEST = 14
"""More than a character takes when it is escaped as a pair of surrogates."""

PIPE_BYTES = 4096
"""Longest record with its end of line: what the system writes to a pipe in one piece (PIPE_BUF)."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One thing that happened; what does not apply is None and not written.

    `time` is RFC 3339 with microseconds; `request` numbers the requests of one worker; latencies in
    microseconds.
    """

    time: str
    event: str
    outcome: str
    request: str | None = None
    uid: int | None = None
    pid: int | None = None
    executable: str | None = None
    key: str | None = None
    algorithm: str | None = None
    kind: str | None = None
    destination: str | None = None
    is_forwarded: bool | None = None
    rule: str | None = None
    is_confirmed: bool | None = None
    wait_us: int | None = None
    sign_us: int | None = None
    detail: str | None = None
    lost: int | None = None


_LIMITS = (MAX_TEXT, 24)
"""Characters a text may have; with the lesser, eleven texts escaped to the utmost still fit."""

_NAMES = {"is_forwarded": "forwarded", "is_confirmed": "confirmed"}


def encode_record(record: AuditRecord) -> bytes:
    """A record as a line with its end; never longer than `PIPE_BYTES`."""
    line = b""
    for limit in _LIMITS:
        line = encode_line(_fields(record, limit))
        if len(line) <= PIPE_BYTES:
            break
    return line


def _fields(record: AuditRecord, limit: int) -> dict[str, Any]:
    return {
        _NAMES.get(name, name): value[:limit] if isinstance(value, str) else value
        for name in AuditRecord.__slots__
        if (value := getattr(record, name)) is not None
    }


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """Any object as a line of ASCII, so that no terminal and no line reader is misled."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def quote(text: str) -> str:
    """A text from outside as a JSON string of at most `MAX_QUOTED` characters of ASCII."""
    quoted = json.dumps(text[:MAX_TEXT])
    return quoted if len(quoted) <= MAX_QUOTED else json.dumps(text[: MAX_QUOTED // _WIDEST])
