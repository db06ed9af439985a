"""What was found on single devices since their blocks were written: kept beside these while it is little.

Writing a block again for a few devices in it would cost ninety bytes for each of its other thousand.
Rule for editors: a block that is written is written with its changes, and then all changes go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.store.port import RunOvertaken
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES

MOST_SHARE: Final = 8
"""Where more than one in so many devices has a change, blocks are written again."""
MAX_ITEMS: Final = 64
"""More rows of changes become one."""

PARTS: Final = ("codes", "ends", "results", "inventory")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes, dict[str, bytes]]).decode

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Changed:
    """Devices by their numbers, ascending, and of each what every part says."""

    numbers: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    parts: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    items: int = 0
    """The rows that it is kept in."""

    def __len__(self) -> int:
        return len(self.numbers)

    def blocks(self) -> list[int]:
        """Blocks with any of the devices."""
        return sorted(set((self.numbers // BLOCK_DEVICES).tolist()))

    def within(self, block: int) -> slice:
        """Where the devices of a block stand."""
        if not len(self.numbers):
            return slice(0, 0)
        first = block * BLOCK_DEVICES
        begin, end = np.searchsorted(self.numbers, (first, first + BLOCK_DEVICES)).tolist()
        return slice(begin, end)

    def lay_over(self, rows: slice, part: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a part of the block that `rows` are `within` says with its changes."""
        if rows.start == rows.stop:
            return array
        array = array.copy()
        array[self.numbers[rows] % BLOCK_DEVICES] = self.parts[part][rows]
        return array

    def without(self, numbers: Numbers) -> Numbers:
        """Of some numbers, those of devices that are not here."""
        return numbers[~np.isin(numbers, self.numbers)]


def lay_together(items: Sequence[Changed]) -> Changed:
    """All of them; of a device in several, the last."""
    told = [one for one in reversed(items) if len(one)]
    if len(told) < 2:
        return told[0] if told else Changed()
    numbers, places = np.unique(np.concatenate([one.numbers for one in told]), return_index=True)
    parts = {part: np.concatenate([one.parts[part] for one in told])[places] for part in PARTS}
    return Changed(numbers, parts, sum(one.items for one in told))


def read_changed(connection: sqlite3.Connection, policies: int) -> Changed:
    """All that is kept beside the blocks, of so many policies. Raises `RunOvertaken`."""
    rows = connection.execute("SELECT data FROM judged_changes ORDER BY item").fetchall()
    return lay_together([_parse(*_decode(data), policies) for (data,) in rows])


def _parse(listed: bytes, parts: Mapping[str, bytes], policies: int) -> Changed:
    numbers: Numbers = np.frombuffer(listed, np.int64)
    shapes = {"codes": policies, "results": HASH_BYTES, "inventory": HASH_BYTES}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part in PARTS:
        width = shapes.get(part)
        array = np.frombuffer(parts[part], np.int64 if width is None else np.uint8)
        if array.size != len(numbers) * (width or 1):
            raise RunOvertaken
        arrays[part] = array if width is None else array.reshape(len(numbers), width)
    return Changed(numbers, arrays, 1)


def keep_changed(connection: sqlite3.Connection, known: Changed, more: Changed) -> None:
    """Keep more on top of what is known to be kept, inside the caller's transaction."""
    if known.items >= MAX_ITEMS:
        forget_changed(connection)
        more = lay_together([known, more])
    parts = {part: array.tobytes() for part, array in more.parts.items()}
    connection.execute(
        "INSERT INTO judged_changes (data) VALUES (?)", (_encode((more.numbers.tobytes(), parts)),)
    )


def forget_changed(connection: sqlite3.Connection) -> None:
    """Keep nothing beside the blocks, inside the caller's transaction."""
    connection.execute("DELETE FROM judged_changes")
