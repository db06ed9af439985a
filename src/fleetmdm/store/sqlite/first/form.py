"""How the packed rows of a block are written, and read without numpy: who only shows a run needs none.

MessagePack of [names of states, columns]; a row's device is the last bits of its number, its state a
place among the names, its end microseconds since 1970. Columns are little-endian.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from struct import calcsize
from typing import Final

import msgspec

from fleetmdm.store.incoming import BLOCK_DEVICES

KINDS: Final = ("H", "I", "B", "I", "q")
"""Of the columns: devices, policies, states, findings, ends."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[list[str], list[bytes]]).decode


_SIZES: Final = tuple(calcsize(f"<{kind}") for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of one block as they are kept, by device, then policy: a column for each of `KINDS`.

    `gone` has a bit for each, which is set of those that count no more.
    """

    block: int
    names: Sequence[str]
    columns: Sequence[bytes]
    gone: bytes | None

    def __len__(self) -> int:
        return len(self.columns[-1]) // _SIZES[-1]


@dataclass(frozen=True, slots=True)
class Packed:
    """The same, each column as numbers."""

    block: int
    names: Sequence[str]
    devices: array[int]
    policies: array[int]
    states: array[int]
    findings: array[int]
    ends: array[int]
    gone: bytes | None

    def __len__(self) -> int:
        return len(self.devices)

    def alive(self) -> Iterator[tuple[int, int, str, int]]:
        """Device, policy, state, and number of the finding of the rows that still count."""
        first, names, gone = self.block * BLOCK_DEVICES, self.names, self.gone
        rows = zip(self.devices, self.policies, self.states, self.findings, strict=True)
        for at, (device, policy, state, finding) in enumerate(rows):
            if gone is None or not gone[at >> 3] & (0x80 >> (at & 7)):
                yield first + device, policy, names[state], finding


def encode_packed(names: Sequence[str], columns: Sequence[bytes]) -> bytes:
    """What is kept of a block; each column as its kind in `KINDS` is written."""
    return _encode((list(names), list(columns)))


def read_written(
    connection: sqlite3.Connection, blocks: Collection[int] | None = None
) -> Iterator[Written]:
    """Block by block; of some blocks, or of all."""
    found = connection.execute(
        "SELECT block, rows, gone FROM first_results LEFT JOIN first_gone USING (block)"
        " WHERE :blocks IS NULL OR block IN (SELECT value FROM json_each(:blocks)) ORDER BY block",
        {"blocks": None if blocks is None else json.dumps(sorted(blocks))},
    )
    for block, data, gone in found:
        try:
            yield _parse(block, data, gone)
        except ValueError as error:
            damaged = sqlite3.DatabaseError(f"block {block} of the first run: {error}")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged from error


def _parse(block: int, data: bytes, gone: bytes | None) -> Written:
    names, columns = _decode(data)
    if len(columns) != len(KINDS):
        raise ValueError("it has other columns")
    written = Written(block, names, columns, gone)
    count, lengths = len(written), list(map(len, columns))
    # What is left of the states is no place among the names.
    odd = columns[KINDS.index("B")].translate(None, bytes(range(len(names))))
    if lengths != [count * size for size in _SIZES] or odd:
        raise ValueError("its columns do not fit")
    if gone is not None and len(gone) * 8 < count:
        raise ValueError("what is gone does not fit")
    return written


def read_packed(
    connection: sqlite3.Connection, blocks: Collection[int] | None = None
) -> Iterator[Packed]:
    """The same, for who has no numpy."""
    for one in read_written(connection, blocks):
        devices, policies, states, findings, ends = map(_parse_column, KINDS, one.columns)
        yield Packed(one.block, one.names, devices, policies, states, findings, ends, one.gone)


def _parse_column(kind: str, data: bytes) -> array[int]:
    column = array(kind, data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def first_run(connection: sqlite3.Connection) -> int | None:
    """The run whose rows are packed; None where there are none."""
    row = connection.execute("SELECT run FROM first_results LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def first_findings(connection: sqlite3.Connection) -> Counter[int]:
    """How many rows that still count name each finding."""
    return Counter(row[3] for packed in read_packed(connection) for row in packed.alive())


def forget_first(connection: sqlite3.Connection) -> None:
    """Let go of blocks of which no row counts any more, inside the caller's transaction."""
    marked = [block for (block,) in connection.execute("SELECT block FROM first_gone")]
    empty = [
        (packed.block,)
        for packed in read_packed(connection, marked)
        if next(packed.alive(), None) is None
    ]
    connection.executemany("DELETE FROM first_gone WHERE block = ?", empty)
    connection.executemany("DELETE FROM first_results WHERE block = ?", empty)
