"""What the newest run found on every device: kept by block, so that the next one can build on it.

Of each device a block has the code of its state under each policy, the moment before which time
alone changes none of them, and its leaf hashes. A device that is not in the fleet has no state.
Rule for editors: what is kept here follows from the run alone; it is replaced with it, in one piece.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import NEVER
from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.ledger.roots import root_of_set
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.recording.work import Packed

ABSENT: Final = 0xFF
"""The code of a device that is not there."""

LONG_AGO: Final = int(np.iinfo(np.int64).min)

_PARTS: Final = ("codes", "ends", "results", "inventory")

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Basis:
    """What the kept verdicts are an answer to."""

    run: int
    revision: int
    question: str


def read_basis(connection: sqlite3.Connection) -> Basis | None:
    """The run whose verdicts are kept, as long as it is there."""
    row = connection.execute(
        "SELECT judged.run, judged.revision, question FROM judged"
        " JOIN runs ON runs.run = judged.run WHERE NOT runs.pruned"
    ).fetchone()
    return None if row is None else Basis(*row)


@dataclass(slots=True)
class BlockState:
    """One block; rows are its devices by the last bits of their numbers."""

    codes: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    results: npt.NDArray[np.uint8]
    inventory: npt.NDArray[np.uint8]
    since: int = LONG_AGO
    rows: bytes = b""
    """The hash of the rows that the block left; empty where it is not known."""

    def until(self) -> int:
        """Before this moment, time alone changes nothing here."""
        return int(self.ends.min())

    def present(self) -> npt.NDArray[np.bool_]:
        """Which devices are in the fleet."""
        there: npt.NDArray[np.bool_] = np.any(self.results != 0, axis=1)
        return there

    def parts(self) -> dict[str, bytes]:
        """The bytes that are kept."""
        return {name: getattr(self, name).tobytes() for name in _PARTS}


def empty_state(policies: int) -> BlockState:
    """A block without devices."""
    leaves = (BLOCK_DEVICES, HASH_BYTES)
    return BlockState(
        np.full((BLOCK_DEVICES, policies), ABSENT, dtype=np.uint8),
        np.full(BLOCK_DEVICES, NEVER, dtype=np.int64),
        np.zeros(leaves, dtype=np.uint8),
        np.zeros(leaves, dtype=np.uint8),
    )


def read_state(connection: sqlite3.Connection, block: int, policies: int) -> BlockState:
    """A block as it is kept; empty where nothing is."""
    state = empty_state(policies)
    rows = connection.execute("SELECT part, data FROM judged_parts WHERE block = ?", (block,))
    for part, data in rows:
        array = getattr(state, part)
        setattr(state, part, np.frombuffer(data, array.dtype).reshape(array.shape).copy())
    row = connection.execute(
        "SELECT since, rows FROM judged_blocks WHERE block = ?", (block,)
    ).fetchone()
    if row is not None:
        state.since, state.rows = row
    return state


class Judged:
    """The verdicts of a run in the making, on top of those that it builds on.

    `counts` is by policy and code, over all devices of the fleet.
    """

    def __init__(self, connection: sqlite3.Connection, policies: int, as_of: int) -> None:
        self._connection = connection
        self._policies = policies
        self._as_of = as_of
        self._states: dict[int, BlockState] = {}
        self._kept = False
        """Whether blocks that were not touched stay as they are."""
        self.counts = np.zeros((policies, len(STATES)), dtype=np.int64)

    def build_on(self, counts: npt.NDArray[np.int64]) -> None:
        """Begin with what is kept, and with its counts."""
        self._kept = True
        self.counts = counts.copy()

    def due_by_time(self, *, timely: bool) -> dict[int, Places | None]:
        """By block, the devices that have to be judged again because of the time; None is all.

        `timely` says that the policies ask about time, so that going back can change anything.
        """
        due: dict[int, Places | None] = {}
        rows = self._connection.execute(
            "SELECT block, since FROM judged_blocks WHERE since > :now OR until <= :now",
            {"now": self._as_of},
        )
        for block, since in rows.fetchall():
            if since > self._as_of:
                if timely:
                    due[block] = None
                continue
            ends = read_state(self._connection, block, self._policies).ends
            due[block] = np.flatnonzero(ends <= self._as_of)
        return due

    def merge(self, packed: Packed) -> None:
        """Take the verdicts on some devices."""
        numbers = np.frombuffer(packed.handles, np.int64)
        codes = np.frombuffer(packed.codes, np.uint8).reshape(len(numbers), self._policies)
        ends = np.frombuffer(packed.ends, np.int64)
        results = np.frombuffer(packed.results, np.uint8).reshape(-1, HASH_BYTES)
        inventory = np.frombuffer(packed.inventory, np.uint8).reshape(-1, HASH_BYTES)
        for block, rows, places in self._by_block(numbers):
            state = self._state(block)
            self._count(state.codes[places], -1)
            self._count(codes[rows], 1)
            state.codes[places], state.ends[places] = codes[rows], ends[rows]
            state.results[places], state.inventory[places] = results[rows], inventory[rows]
            state.since = max(state.since, self._as_of)
            state.rows = packed.rows_hash if packed.task.block is not None else b""

    def begin_block(self, block: int) -> set[int]:
        """Judge a block as a whole; answers the numbers of the devices that were in it."""
        state = self._state(block)
        # Everything in it is about to be judged at one moment.
        state.since = LONG_AGO
        there = np.flatnonzero(state.present()) + block * BLOCK_DEVICES
        return set(there.tolist())

    def renew_inventory(self, handles: Sequence[int], leaves: Sequence[bytes]) -> None:
        """Take new leaf hashes of devices that were only seen again."""
        table = np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, HASH_BYTES)
        for block, rows, places in self._by_block(np.array(handles, dtype=np.int64)):
            self._state(block).inventory[places] = table[rows]

    def drop(self, handles: Sequence[int]) -> None:
        """Devices that are no longer in the fleet."""
        for block, _, places in self._by_block(np.array(handles, dtype=np.int64)):
            state = self._state(block)
            self._count(state.codes[places], -1)
            state.rows = b""
            state.codes[places], state.ends[places] = ABSENT, NEVER
            state.results[places] = state.inventory[places] = 0

    @staticmethod
    def _by_block(
        numbers: npt.NDArray[np.int64],
    ) -> Iterator[tuple[int, npt.NDArray[np.bool_], Places]]:
        blocks = numbers // BLOCK_DEVICES
        for block in np.unique(blocks).tolist():
            rows = blocks == block
            yield block, rows, (numbers[rows] % BLOCK_DEVICES).astype(np.intp)

    def _state(self, block: int) -> BlockState:
        state = self._states.get(block)
        if state is None:
            state = (
                read_state(self._connection, block, self._policies)
                if self._kept
                else empty_state(self._policies)
            )
            self._states[block] = state
        return state

    def _count(self, codes: npt.NDArray[np.uint8], sign: int) -> None:
        """Add the states of some devices, a row for each, or with -1 take them away."""
        kinds = ABSENT + 1
        numbered = codes.astype(np.intp) + np.arange(self._policies) * kinds
        counted = np.bincount(numbered.ravel(), minlength=self._policies * kinds)
        self.counts += sign * counted.reshape(self._policies, kinds)[:, : len(STATES)]

    def roots(self) -> tuple[bytes, bytes]:
        """The roots of inventory and results over the whole fleet."""
        return self._root("inventory"), self._root("results")

    def _root(self, part: str) -> bytes:
        tables = [getattr(state, part) for state in self._states.values()]
        if self._kept:
            rows = self._connection.execute(
                "SELECT block, data FROM judged_parts WHERE part = ?", (part,)
            )
            tables += [
                np.frombuffer(data, np.uint8).reshape(-1, HASH_BYTES)
                for block, data in rows
                if block not in self._states
            ]
        if not tables:
            return root_of_set(b"")
        every = np.concatenate(tables)
        return root_of_set(every[every.any(axis=1)].tobytes())

    def write(self, run: int, revision: int, question: str) -> None:
        """Keep it as what `run` found, inside the caller's transaction; only what differs."""
        execute = self._connection.execute
        if not self._kept:
            stored = [block for (block,) in execute("SELECT block FROM judged_blocks")]
            for block in set(stored) - set(self._states):
                execute("DELETE FROM judged_blocks WHERE block = ?", (block,))
        for block, state in self._states.items():
            self._write_block(block, state)
        execute("DELETE FROM judged")
        execute("INSERT INTO judged VALUES (1, ?, ?, ?)", (run, revision, question))

    def _write_block(self, block: int, state: BlockState) -> None:
        self._connection.execute(
            "INSERT INTO judged_blocks VALUES (?, ?, ?, ?) ON CONFLICT (block) DO UPDATE"
            " SET since = excluded.since, until = excluded.until, rows = excluded.rows"
            " WHERE (since, until, rows) IS NOT (excluded.since, excluded.until, excluded.rows)",
            (block, state.since, state.until(), state.rows),
        )
        kept = dict(
            self._connection.execute(
                "SELECT part, data FROM judged_parts WHERE block = ?", (block,)
            ).fetchall()
        )
        self._connection.executemany(
            "INSERT INTO judged_parts VALUES (?, ?, ?)"
            " ON CONFLICT (block, part) DO UPDATE SET data = excluded.data",
            [(block, part, data) for part, data in state.parts().items() if kept.get(part) != data],
        )


def read_rows_hashes(connection: sqlite3.Connection) -> dict[int, bytes]:
    """By block, the hash of the rows that the run whose verdicts are kept left in it."""
    return dict(connection.execute("SELECT block, rows FROM judged_blocks").fetchall())


def forget(connection: sqlite3.Connection) -> None:
    """Keep nothing, inside the caller's transaction: the next run judges everything."""
    connection.execute("DELETE FROM judged")


def encode_question(question: object) -> str:
    """A question as text that is equal where the questions are."""
    return json.dumps(question, sort_keys=True)
