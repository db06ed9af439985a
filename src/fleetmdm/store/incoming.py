"""Documents on their way into a store, many together: decoded, hashed and taken apart once. Pure.

A block is what waits on disk while others are read, and what crosses from one process to another.
Rule for editors: what a block holds depends on its documents alone, whoever made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Final

import msgspec

from fleetmdm.device import Device, encode_facts
from fleetmdm.device.quick import QuickDocument, QuickReader
from fleetmdm.ingest.read import Reading, Refused, Stretch, read_piece
from fleetmdm.ingest.split import Piece
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.codec import time_to_stamp

BLOCK_DEVICES: Final = 4096
"""Devices of a block: enough that what a leaf or a column costs by itself is little beside them, and few
enough to be read for the sake of one."""

FEWEST: Final = BLOCK_DEVICES // 4
"""Fewer devices than this are no block of their own."""

HASH_BYTES: Final = 32
_SPACE: Final = b" \t\r\n"


class IncomingRows(msgspec.Struct, array_like=True, frozen=True):
    """Documents side by side; lists have one item for each."""

    device_ids: list[str]
    last_seen: list[str]
    """As `encode_stamp` writes it."""
    serials: list[str | None]
    hashes: bytes
    """SHA-256 of what `encode_facts` writes of each, one behind the other."""
    lengths: list[int]
    facts: bytes
    """What `encode_facts` writes of each, one behind the other."""
    columns: dict[str, bytes]
    """What `build_table` makes; empty where nobody asked."""

    def each_hash(self) -> list[bytes]:
        """`hashes`, one by one."""
        places = range(0, len(self.hashes), HASH_BYTES)
        return [self.hashes[place : place + HASH_BYTES] for place in places]

    def each_facts(self) -> list[bytes]:
        """`facts`, one by one."""
        ends = list(accumulate(self.lengths))
        return [self.facts[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True, slots=True)
class IncomingBlock:
    """At most `BLOCK_DEVICES` documents."""

    device_ids: Sequence[str]
    data: bytes

    def rows(self) -> IncomingRows:
        """All of it."""
        return decode_rows(self.data)


ColumnsWanted = Callable[[], bool]
"""Asks the store, while it takes blocks, whether the columns of further ones are of use to it."""

BlockSource = Callable[[ColumnsWanted], Iterable[IncomingBlock]]


_encode: Final = msgspec.msgpack.Encoder().encode
decode_rows: Final = msgspec.msgpack.Decoder(IncomingRows).decode


def device_blocks(devices: Iterable[Device]) -> BlockSource:
    """Blocks of devices that were parsed already."""

    def blocks(wanted: ColumnsWanted) -> Iterator[IncomingBlock]:
        left = iter(devices)
        while some := list(map(_ready, islice(left, BLOCK_DEVICES))):
            yield _pack(some, with_columns=wanted())

    return blocks


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """What was read of some documents; `count` is how many there were."""

    block: IncomingBlock
    refused: tuple[Refused, ...]
    count: int


class BlockBuilder:
    """Makes blocks of documents as they were cut out of files."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._quick = QuickReader(reading.now, reading.limits)

    def build(self, pieces: Iterable[Stretch | Refused], *, with_columns: bool) -> ReadBlock:
        """The block of some pieces, in their order."""
        ready: list[QuickDocument] = []
        refused: list[Refused] = []
        for item in pieces:
            if isinstance(item, Refused):
                refused.append(item)
            else:
                self._read(item, ready, refused)
        self._quick.learn(ready)
        block = _pack(ready, with_columns=with_columns)
        return ReadBlock(block, tuple(refused), len(ready) + len(refused))

    def _read(self, stretch: Stretch, ready: list[QuickDocument], refused: list[Refused]) -> None:
        read = self._quick.read
        for place, data in enumerate(stretch.data):
            found = read(data)
            if found is not None:
                ready.append(found)
            elif plain := data.strip(_SPACE):
                piece = Piece(stretch.lines[place], plain)
                for item in read_piece(piece, stretch.file, self._reading):
                    if isinstance(item, Device):
                        ready.append(_ready(item))
                    else:
                        refused.append(item)


def _ready(device: Device) -> QuickDocument:
    document = {
        "hostname": device.hostname,
        "os": device.os,
        "os_version": device.os_version,
        "serial": device.serial,
        "tags": list(device.tags),
        "facts": device.facts,
    }
    seen = encode_time(device.last_seen)
    return QuickDocument(device.device_id, device.serial, seen, encode_facts(device), document)


def _pack(ready: Sequence[QuickDocument], *, with_columns: bool) -> IncomingBlock:
    device_ids = [one.device_id for one in ready]
    facts = [one.facts for one in ready]
    sha256 = hashlib.sha256
    rows = IncomingRows(
        device_ids,
        [time_to_stamp(one.last_seen) for one in ready],
        [one.serial for one in ready],
        b"".join([sha256(data).digest() for data in facts]),
        list(map(len, facts)),
        b"".join(facts),
        _columns(ready) if with_columns and len(ready) >= FEWEST else {},
    )
    return IncomingBlock(device_ids, _encode(rows))


def _columns(ready: Sequence[QuickDocument]) -> dict[str, bytes]:
    # Who only reads a store need not load what makes columns.
    from fleetmdm.evaluate.table import build_table

    return build_table([one.document for one in ready])
