"""What was found, each text of it once; results name it by number.

Rule for editors: a number is never given another text while a result may name it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from fleetmdm.results import Finding
from fleetmdm.store.codec import decode_findings
from fleetmdm.store.sqlite.first.form import first_findings

MAX_KNOWN: Final = 65_536
"""Numbers that are remembered at a time."""
MAX_DECODED: Final = 4_096
"""Texts of which the meaning is remembered, of at most so many bytes each."""
MAX_DECODED_BYTES: Final = 2_048

_decode: Final = lru_cache(MAX_DECODED)(decode_findings)

_NUMBER: Final = "SELECT number FROM findings WHERE data = ?"
_NEXT: Final = "SELECT coalesce(max(number), 0) + 1 FROM findings"
_INSERT: Final = "INSERT INTO findings (number, data) VALUES (?, ?) ON CONFLICT (data) DO NOTHING"
_FORGET: Final = """
DELETE FROM findings WHERE number NOT IN (SELECT finding FROM results)
AND number NOT IN (SELECT value FROM json_each(?))
"""
_LOOSE: Final = "SELECT count(*) FROM results WHERE finding NOT IN (SELECT number FROM findings)"
_GONE: Final = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT number FROM findings)"


def decode_known(data: bytes) -> tuple[Finding, ...]:
    """`decode_findings` of what comes again and again: few texts are found on most devices."""
    return _decode(data) if len(data) <= MAX_DECODED_BYTES else decode_findings(data)


class Findings:
    """Gives numbers, inside the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[bytes, int] = {}

    def numbers(self, texts: Sequence[bytes]) -> list[int]:
        """The number of each text; those that are new are kept."""
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._keep([text for text in dict.fromkeys(texts) if text not in self._known])
        return [self._known[text] for text in texts]

    def _keep(self, texts: Sequence[bytes]) -> None:
        """Know the numbers of texts; mostly all are new, and then nothing is looked up."""
        execute, before = self._connection.execute, self._connection.total_changes
        first = execute(_NEXT).fetchone()[0]
        self._connection.executemany(_INSERT, enumerate(texts, first))
        numbers = list(range(first, first + len(texts)))
        if self._connection.total_changes - before < len(texts):
            found = (execute(_NUMBER, (text,)).fetchone() for text in texts)
            numbers = [number for (number,) in found]
        self._known.update(zip(texts, numbers, strict=True))


def forget_findings(connection: sqlite3.Connection) -> None:
    """Forget what no result names, inside the caller's transaction."""
    connection.execute(_FORGET, (json.dumps(list(first_findings(connection))),))


def find_loose_findings(connection: sqlite3.Connection) -> Iterator[str]:
    """Sentences about results whose findings are gone."""
    (count,) = connection.execute(_LOOSE).fetchone()
    named = first_findings(connection)
    for (number,) in connection.execute(_GONE, (json.dumps(list(named)),)):
        count += named[number]
    if count:
        yield f"{count} results name findings that are gone"
