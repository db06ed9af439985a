"""The records of one file, a block of lines at a time: their leaves, and what they must not show.

Rule for editors: what a block answers depends on its lines and the redaction alone, so that blocks
can be checked in any order and anywhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from clikit.crew import Crew
from fleetmdm.evidence.records.commit import MAX_RECORD_BYTES
from fleetmdm.evidence.records.reading import LineReader, Taken
from fleetmdm.evidence.records.values import RecordError, uncarry
from fleetmdm.evidence.redact import Redaction, may_show

_log: Final = logging.getLogger("fleetmdm.evidence")

BATCH_RECORDS: Final = 256
BATCH_BYTES: Final = 1024 * 1024
"""Records that are looked at together: so many, or the least that have so many bytes."""

MAX_BAD_RECORDS: Final = 20
"""Malformed records that are listed for one block, and for one file."""

MAX_SHOWN_TOO_MUCH: Final = 1000
"""Fields that a view should not show that are listed for one block: as many as a report keeps."""

MAX_DECISIONS: Final = 4096
"""Sets of open fields of which it is remembered whether the view may show them."""


@dataclass(slots=True)
class Block:
    """What is in some lines that follow each other; problems have lines counted from 0."""

    lines: int = 0
    leaves: list[bytes] = field(default_factory=list)
    """Leaf hashes of RFC 6962, of every line that is a record."""
    opened: int = 0
    hidden: int = 0
    malformed: list[tuple[int, str]] = field(default_factory=list)
    shows_more: list[tuple[int, str]] = field(default_factory=list)


class RecordChecker:
    """Checks the lines of a file of records; remembers what it has seen."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._reader = LineReader()
        self._decided: dict[tuple[bytes, ...], tuple[list[str], list[int]]] = {}
        self._judged: dict[tuple[tuple[bytes, ...], tuple[bytes, ...]], list[str]] = {}

    def check(self, lines: list[bytes]) -> Block:
        """One block."""
        block = Block(lines=len(lines))
        sha256, read, refused = hashlib.sha256, self._reader.read, self._refused
        for number, line in enumerate(lines):
            try:
                taken = read(line)
            except RecordError as error:
                if len(block.malformed) < MAX_BAD_RECORDS:
                    block.malformed.append((number, str(error)))
                continue
            block.leaves.append(sha256(b"\0" + taken.leaf).digest())
            block.opened += len(taken.names)
            block.hidden += len(taken.shut)
            wrong = refused(taken)
            if wrong and len(block.shows_more) < MAX_SHOWN_TOO_MUCH:
                block.shows_more += [(number, path) for path in wrong]
        return block

    def _refused(self, taken: Taken) -> list[str]:
        """The open fields that the view may not show."""
        decided = self._decided.get(taken.names)
        if decided is None:
            if len(self._decided) >= MAX_DECISIONS:
                self._decided.clear()
            decided = self._decided[taken.names] = self._decide(taken.names)
        wrong, findings = decided
        if not findings:
            return wrong
        # What a check saw shows where the fact may that the check asks for.
        key = (taken.names, tuple([taken.values[at] for at in findings]))
        judged = self._judged.get(key)
        if judged is None:
            if len(self._judged) >= MAX_DECISIONS:
                self._judged.clear()
            judged = self._judged[key] = self._judge(taken, findings)
        return judged

    def _decide(self, names: tuple[bytes, ...]) -> tuple[list[str], list[int]]:
        """What is refused by its name alone; or the places of the findings that it depends on."""
        paths = [_text(name) for name in names]
        findings = [at for at, path in enumerate(paths) if path.startswith("finding[")]
        if findings:
            return [], findings
        return [path for path in paths if not may_show(path, {}, self._redaction)], []

    def _judge(self, taken: Taken, findings: list[int]) -> list[str]:
        paths = [_text(name) for name in taken.names]
        fields = {paths[at]: uncarry(json.loads(taken.values[at])) for at in findings}
        return [path for path in paths if not may_show(path, fields, self._redaction)]


Lines = list[bytes]


def read_lines(file: BinaryIO, most: int, hasher: hashlib._Hash) -> Iterator[Lines]:
    """At most so many lines with their newline, hashed as they are read.

    An overlong one comes in pieces, none of which is a record.
    """
    left = most
    while left:
        batch: Lines = []
        size = 0
        while len(batch) < min(left, BATCH_RECORDS) and size < BATCH_BYTES:
            line = file.readline(MAX_RECORD_BYTES)
            if not line:
                break
            batch.append(line)
            size += len(line)
        if not batch:
            return
        hasher.update(b"".join(batch))
        left -= len(batch)
        yield batch


def check_together(redaction: Redaction, workers: int) -> Crew[Lines, Block]:
    """Those who check the records of a pack: this process, and `workers` more."""
    return Crew(
        workers,
        here=RecordChecker(redaction).check,
        there=_do,
        start=_start,
        given=(redaction,),
        killed=lambda: _log.warning(
            "a process that checked was killed; its part is checked by the others"
        ),
    )


_checkers: list[RecordChecker] = []
"""Of a worker process: its own; set once, by `_start`."""


def _start(redaction: Redaction) -> None:
    _checkers.append(RecordChecker(redaction))


def _do(lines: Lines) -> Block:
    return _checkers[0].check(lines)


def _text(name: bytes) -> str:
    text: Any = json.loads(b'"%b"' % name)
    return str(text)
