"""One record of a pack: fields committed to by salted hashes, some of them opened.

docs/evidence-format.md, "Records". A field's digest is SHA-256 over the canonical JSON array
`[salt, path, value]`; a record's leaf is the concatenation of its digests in ascending order, so
neither the order nor the names of hidden fields show. A line opens some fields and lists the
digests of the others: `{"fields":{path:[salt,value]},"hidden":[digest]}`. Pure.
Rule for editors: the leaf depends on the fields alone, never on which of them are open; a salt
depends on the names of all the record's fields, so that no salt ever stands for two values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from fleetmdm.evidence.records.values import (
    RecordError,
    carry,
    encode_carried,
    encode_text,
    utf16,
)

SALT_BYTES: Final = 16
"""128 bits, so that a hidden value cannot be found by trying likely ones."""

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
"""Longest line of a record file; a device document of the largest size has a tenth of it."""

MAX_SHAPES: Final = 4096
"""Sets of names that are remembered at a time."""

SALT_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Field:
    """A field before it is written. `value` is plain JSON; `is_open` says whether it shows."""

    path: str
    value: Any
    is_open: bool


class Cell(NamedTuple):
    """A field as it is written, but for its salt: `["SALT` + `committed` is what is hashed.

    An open one stands in the line as `name` + the salt + `value`. A cell may be used again
    wherever the same value stands at the same path.
    """

    path: str
    committed: bytes
    name: bytes
    value: bytes
    is_open: bool
    text: str = ""
    """What could give a name away if it shows, case-folded; empty where nothing can."""


class Written(NamedTuple):
    """A record as one view shows it; `opened` and `hidden` count fields."""

    line: bytes
    leaf: bytes
    opened: int
    hidden: int


class Block(NamedTuple):
    """Records that follow each other in a file."""

    data: bytes
    leaves: tuple[bytes, ...]
    """Leaf hashes of RFC 6962."""
    opened: int
    hidden: int


def make_cell(path: str, value: Any, *, is_open: bool, text: str = "") -> Cell:
    """The cell of a field; raises `RecordError` for what is no JSON value."""
    begin, name = begin_cell(path)
    end = (encode_text(value) if type(value) is str else encode_carried(carry(value))) + b"]"
    return Cell(path, begin + end, name, b'",' + end, is_open, text)


def begin_cell(path: str) -> tuple[bytes, bytes]:
    """What stands before the value of a cell where it is hashed; and its name as it is shown."""
    name = encode_text(path)
    return b'",' + name + b",", name + b':["'


class _Shape:
    """What all records with the same names share: their order, and how salts are cut."""

    __slots__ = ("arrange", "cut", "names", "salt_bytes")

    def __init__(self, paths: tuple[str, ...]) -> None:
        if len(set(paths)) != len(paths) or not paths:
            raise RecordError("a record has no field, or one twice")
        order = sorted(range(len(paths)), key=lambda at: utf16(paths[at]))
        self.arrange: Callable[[Sequence[Cell]], Sequence[Cell]] = (
            itemgetter(*order) if len(order) > 1 else tuple
        )
        names = b",".join(encode_text(paths[at]) for at in order)
        self.names = hashlib.sha256(names).digest()
        self.cut = Struct("32s" * len(paths)).unpack
        self.salt_bytes = SALT_BYTES * len(paths)


class RecordEncoder:
    """Writes records under the salts of one run."""

    def __init__(self, salt_key: bytes) -> None:
        if len(salt_key) != SALT_KEY_BYTES:
            raise ValueError("a salt key has 32 bytes")
        self._key = salt_key
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def encode(self, cells: Sequence[Cell], identity: str) -> Written:
        """Write a record; `identity` names it within its run, its file included."""
        shape = self._shape(tuple([cell[0] for cell in cells]))
        # SHAKE256 (FIPS 202) of key, names and identity: the first two are of fixed length.
        secret = self._key + shape.names + identity.encode("utf-8", "surrogatepass")
        stream = hashlib.shake_256(secret).hexdigest(shape.salt_bytes)
        return assemble(shape.arrange(cells), shape.cut(stream.encode()))

    def _shape(self, paths: tuple[str, ...]) -> _Shape:
        shape = self._shapes.get(paths)
        if shape is None:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            shape = self._shapes[paths] = _Shape(paths)
        return shape


def encode_record(fields: Iterable[Field], *, key: bytes, identity: str = "") -> Written:
    """Write one record from its fields; raises `RecordError`."""
    cells = [make_cell(each.path, each.value, is_open=each.is_open) for each in fields]
    return RecordEncoder(key).encode(cells, identity)


def assemble(
    cells: Sequence[Cell], salts: Sequence[bytes], hidden: Iterable[bytes] = ()
) -> Written:
    """The line and leaf of cells in the order of their names; `hidden` are further digests."""
    sha256, others = hashlib.sha256, list(hidden)
    pairs = list(zip(salts, cells, strict=True))
    digests = [sha256(b'["' + salt + cell[1]).digest() for salt, cell in pairs]
    parts = [cell[2] + salt + cell[3] for salt, cell in pairs if cell[4]]
    shut = [digest for digest, cell in zip(digests, cells, strict=True) if not cell[4]]
    shut += others
    shut.sort()
    digests += others
    digests.sort()
    return Written(write_line(parts, shut), b"".join(digests), len(parts), len(shut))


def write_line(parts: Sequence[bytes], shut: Sequence[bytes]) -> bytes:
    """The line of open fields, in the order of their names, and digests of others, in theirs."""
    listed = b"".join(shut).hex(",", 32).replace(",", '","').encode()
    line = b'{"fields":{%b},"hidden":[%b]}\n' % (
        b",".join(parts),
        b'"%b"' % listed if shut else b"",
    )
    if len(line) > MAX_RECORD_BYTES:
        raise RecordError(f"a record of {len(line)} bytes is over the limit of {MAX_RECORD_BYTES}")
    return line


def pack_block(records: Sequence[Written]) -> Block:
    """Records put together."""
    sha256 = hashlib.sha256
    return Block(
        b"".join([record.line for record in records]),
        tuple([sha256(b"\0" + record.leaf).digest() for record in records]),
        sum([record.opened for record in records]),
        sum([record.hidden for record in records]),
    )
