"""What the newest run found on the devices of one block, as it is kept.

Of each device there is the code of its state under each policy, the moment before which time alone
changes none of them, and its leaf hashes. A device that is not in the fleet has no state.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import NEVER
from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.store.port import RunOvertaken
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.recording.changed import PARTS, Changed
from fleetmdm.store.sqlite.recording.digests import Digests, parse_digests

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

    def forget_digests(self, *, all_of_them: bool) -> None:
        """Its leaves of the inventory were made anew, or all that it has."""
        self.digests = b"" if all_of_them else Digests(parse_digests(self.digests).rows).stored()

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


_PARTS: Final = """
SELECT kept.block, kept.data FROM json_each(:blocks) AS one
CROSS JOIN judged_parts AS kept ON kept.block = one.value AND kept.part = :part
"""


def read_rows(
    connection: sqlite3.Connection,
    part: str,
    blocks: Sequence[int],
    changed: Changed,
    policies: int,
) -> npt.NDArray[Any]:
    """What a part says of all devices of some blocks, in their order, with what is `changed`.

    Raises `RunOvertaken` where a block is of another run.
    """
    nothing = getattr(empty_state(policies), part)
    table = np.empty((len(blocks), *nothing.shape), nothing.dtype)
    missing = {block: at for at, block in enumerate(blocks)}
    for block, data in connection.execute(_PARTS, {"part": part, "blocks": json.dumps(blocks)}):
        if len(data) != nothing.nbytes:
            raise RunOvertaken
        table[missing.pop(block)] = np.frombuffer(data, nothing.dtype).reshape(nothing.shape)
    for at in missing.values():
        table[at] = nothing
    rows = table.reshape(-1, *nothing.shape[1:])
    if len(changed):
        places, known = find_rows(blocks, changed.numbers)
        rows[places] = changed.parts[part][known]
    return rows


def drop_absent(leaves: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The leaves without the places of those that are not there, in another order."""
    words = leaves.view(np.uint64)
    gaps = np.flatnonzero(words[:, 0] == 0)
    # Hardly ever does a hash begin with eight zeros, and still it is one.
    gaps = gaps[~words[gaps].any(axis=1)]
    count = len(leaves) - len(gaps)
    # What stands last fills the gaps before it; there are few.
    last = np.setdiff1d(np.arange(count, len(leaves)), gaps, assume_unique=True)
    leaves[gaps[gaps < count]] = leaves[last]
    return leaves[:count]


def find_rows(
    blocks: Sequence[int], numbers: npt.NDArray[np.int64]
) -> tuple[Places, npt.NDArray[np.bool_]]:
    """Where `read_rows` has the devices that are in these blocks (ascending); and which are."""
    listed, wanted = np.array(blocks, np.int64), numbers // BLOCK_DEVICES
    at = np.searchsorted(listed, wanted)
    known = np.isin(wanted, listed)
    return (at * BLOCK_DEVICES + numbers % BLOCK_DEVICES)[known].astype(np.intp), known


def write_state(
    connection: sqlite3.Connection, block: int, state: BlockState, *, anew: bool
) -> None:
    """Keep a block, inside the caller's transaction: what differs. `anew`: begun from nothing."""
    connection.execute(
        "INSERT INTO judged_blocks VALUES (?, ?, ?, ?) ON CONFLICT (block) DO UPDATE"
        " SET since = excluded.since, until = excluded.until, rows = excluded.rows"
        " WHERE (since, until, rows) IS NOT (excluded.since, excluded.until, excluded.rows)",
        (block, state.since, state.until(), state.digests),
    )
    wanted = [one for one in PARTS if one not in state.kept] if anew else list(state.changed)
    parts = {part: getattr(state, part).data.cast("B") for part in wanted}
    kept = {}
    if anew:
        # What came out may be what is kept all the same.
        kept = dict(
            connection.execute(
                "SELECT part, data FROM judged_parts"
                " WHERE block = ? AND part IN (SELECT value FROM json_each(?))",
                (block, json.dumps(wanted)),
            ).fetchall()
        )
    connection.executemany(
        "INSERT INTO judged_parts VALUES (?, ?, ?)"
        " ON CONFLICT (block, part) DO UPDATE SET data = excluded.data",
        [(block, part, data) for part, data in parts.items() if kept.get(part) != data],
    )


def read_digests(connection: sqlite3.Connection) -> dict[int, Digests]:
    """By block, of what the run whose verdicts are kept left in it."""
    rows = connection.execute("SELECT block, rows FROM judged_blocks")
    return {block: parse_digests(stored) for block, stored in rows}
