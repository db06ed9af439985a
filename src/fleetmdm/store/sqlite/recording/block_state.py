"""What the newest run found on the devices of one block, as it is kept.

Of each device there is the code of its state under each policy, the moment before which time alone
changes none of them, and its leaf hashes. A device that is not in the fleet has no state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import NEVER
from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.store.port import RunOvertaken
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.recording.changed import Changed

ABSENT: Final = 0xFF
"""The code of a device that is not there, and of a policy under which it was not judged."""

LONG_AGO: Final = int(np.iinfo(np.int64).min)

Places = npt.NDArray[np.intp]
Codes = npt.NDArray[np.uint8]
Ends = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """How the columns of the codes that are kept become those of the run in the making."""

    before: int
    """Policies of the run that kept them."""
    now: int
    moved: Mapping[int, int]
    """The column that a policy had, by the one that it has; those that stand are here."""

    def move(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The codes as the run wants them; `ABSENT` where a policy did not stand."""
        still = all(old == new for new, old in self.moved.items())
        if still and self.before == self.now == len(self.moved):
            return codes
        moved = np.full((len(codes), self.now), ABSENT, dtype=np.uint8)
        moved[:, list(self.moved)] = codes[:, list(self.moved.values())]
        return moved


def keep_all(policies: int) -> KeptColumns:
    """Where no policy changed."""
    return KeptColumns(policies, policies, {place: place for place in range(policies)})


@dataclass(slots=True)
class BlockState:
    """One block; rows are its devices by the last bits of their numbers."""

    codes: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    results: npt.NDArray[np.uint8]
    inventory: npt.NDArray[np.uint8]
    since: int = LONG_AGO
    digests: bytes = b""
    """As `Digests.stored` gives them; empty where they are not known."""
    changed: set[str] = field(default_factory=set)
    """The parts that differ from what is kept."""
    kept: set[str] = field(default_factory=set)
    """The parts that are what is kept, of a block begun from nothing."""
    written: set[str] = field(default_factory=set)
    """The parts that are kept at all."""

    def until(self) -> int:
        """Before this moment, time alone changes nothing here."""
        return int(self.ends.min())

    def present(self) -> npt.NDArray[np.bool_]:
        """Which devices are in the fleet."""
        there: npt.NDArray[np.bool_] = np.any(self.results != 0, axis=1)
        return there

    def take_over(self, part: str, values: npt.NDArray[np.uint8]) -> None:
        """Take what is kept for what a part says."""
        setattr(self, part, values)
        self.kept.add(part)

    def put(self, part: str, places: Places, values: npt.NDArray[np.generic] | int) -> None:
        """Set what a part says of some devices."""
        array = getattr(self, part)
        if (array[places] != values).any():
            if not array.flags.writeable:
                array = array.copy()
                setattr(self, part, array)
            array[places] = values
            self.changed.add(part)


def empty_state(policies: int) -> BlockState:
    """A block without devices."""
    return BlockState(*_nothing(policies))


@lru_cache(maxsize=4)
def _nothing(policies: int) -> tuple[Codes, Ends, Codes, Codes]:
    """The parts of a block without devices; copied when they are changed, like what is read."""
    codes = np.full((BLOCK_DEVICES, policies), ABSENT, dtype=np.uint8)
    ends = np.full(BLOCK_DEVICES, NEVER, dtype=np.int64)
    leaves = np.zeros((BLOCK_DEVICES, HASH_BYTES), dtype=np.uint8)
    for array in (codes, ends, leaves):
        array.flags.writeable = False
    return codes, ends, leaves, leaves


def read_part(connection: sqlite3.Connection, block: int, part: str) -> npt.NDArray[np.uint8]:
    """The leaf hashes of a block as they are kept. Raises `RunOvertaken` where they are not."""
    row = connection.execute(
        "SELECT data FROM judged_parts WHERE block = ? AND part = ?", (block, part)
    ).fetchone()
    if row is None or len(row[0]) != BLOCK_DEVICES * HASH_BYTES:
        raise RunOvertaken
    return np.frombuffer(row[0], np.uint8).reshape(BLOCK_DEVICES, HASH_BYTES)


def read_state(
    connection: sqlite3.Connection, block: int, kept: KeptColumns, changed: Changed
) -> BlockState:
    """A block as it is kept, with what is `changed` in it; empty where nothing is.

    Raises `RunOvertaken` where it is of another run than `kept` tells of.
    """
    state = empty_state(kept.before)
    rows = connection.execute("SELECT part, data FROM judged_parts WHERE block = ?", (block,))
    within = changed.within(block)
    for part, data in rows:
        array = getattr(state, part)
        if len(data) != array.nbytes:
            raise RunOvertaken
        # Copied when it is changed.
        written = np.frombuffer(data, array.dtype).reshape(array.shape)
        state.written.add(part)
        shown = changed.lay_over(within, part, written)
        setattr(state, part, shown)
        if shown is not written:
            state.changed.add(part)
    moved = kept.move(state.codes)
    if moved is not state.codes:
        state.codes = moved
        state.changed.add("codes")
    row = connection.execute(
        "SELECT since, rows FROM judged_blocks WHERE block = ?", (block,)
    ).fetchone()
    if row is not None:
        state.since, state.digests = row
    return state
