"""One line of an audit log, read as hostile input: nothing here raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from secretivex.audit.chain import HASH_BYTES
from secretivex.audit.record import encode_line

MAX_NAME = 64
"""Characters of a chain's name that are kept."""


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None if it holds none, or one that is nested as no record is."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(map(_is_flat, value.values())) else None


def _is_flat(value: object) -> bool:
    """Whether whatever is done with a value ends: a text, a figure, or a list of such."""
    if isinstance(value, list):
        return not any(isinstance(one, list | dict) for one in value)
    return not isinstance(value, dict)


def name_of_chain(value: Mapping[str, Any]) -> str:
    """What a record says is its chain's name, cut to a length."""
    return str(value.get("chain", ""))[:MAX_NAME]


def is_canonical_seal(line: bytes, value: Mapping[str, Any]) -> bool:
    """Whether a seal is written as the writer writes it: it is not sealed itself."""
    names = ("event", "number", "records", "hash", "mac")
    if tuple(value) != names or type(value["number"]) is not int:
        return False
    return type(value["records"]) is int and encode_line(value) == line


def parse_digest(value: object) -> bytes | None:
    """A hash as the writer writes it; None for what is none."""
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return raw if len(raw) == HASH_BYTES and raw.hex() == value else None
