"""What the newest run found on every device: kept by block, so that the next one can build on it.

Blocks that are judged as a whole are brought up and written again; what is said of single devices is
laid over the others, and kept beside them while it is little.
Rule for editors: what is kept here follows from the run alone; it is replaced with it, in one piece.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.ledger.roots import root_of_set
from fleetmdm.store.port import Question
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.recording.block_state import (
    ABSENT,
    LONG_AGO,
    BlockState,
    KeptColumns,
    Places,
    drop_absent,
    empty_state,
    find_rows,
    read_part,
    read_rows,
    read_state,
    write_state,
)
from fleetmdm.store.sqlite.recording.changed import (
    MOST_SHARE,
    PARTS,
    Changed,
    Numbers,
    forget_changed,
    keep_changed,
    lay_together,
    read_changed,
)
from fleetmdm.store.sqlite.recording.work import Packed


class Judged:
    """The verdicts of a run in the making, on top of those that it builds on.

    `counts` is by policy and code, over all devices of the fleet.
    """

    def __init__(self, connection: sqlite3.Connection, policies: int, as_of: int) -> None:
        self._connection = connection
        self._policies = policies
        self._as_of = as_of
        self._states: dict[int, BlockState] = {}
        """Blocks that are brought up; nothing is laid over them from then on."""
        self._kept: KeptColumns | None = None
        """Where blocks that were not touched stay as they are."""
        self._changed = Changed()
        """What is kept beside the blocks that this builds on."""
        self._more: list[Changed] = []
        """What is said of single devices, each of them in one of these alone."""
        self._moved: set[int] = set()
        """Blocks of which single devices were judged or dropped."""
        self._seen: set[int] = set()
        """Blocks of which single devices were seen again."""
        self.counts = np.zeros((policies, len(STATES)), dtype=np.int64)

    def build_on(self, kept: KeptColumns, counts: npt.NDArray[np.int64]) -> None:
        """Begin with what is kept, and with the counts of the policies that stand."""
        self._kept = kept
        self._changed = read_changed(self._connection, kept.before)
        self.counts = counts.copy()

    def due_by_time(self, *, timely: bool) -> dict[int, Places | None]:
        """By block, the devices that have to be judged again because of the time; None is all.

        `timely` says that the policies ask about time, so that going back can change anything.
        """
        assert self._kept is not None  # noqa: S101 - nothing is due where nothing is kept
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
            due[block] = np.flatnonzero(self._read_blocks("ends", [block]) <= self._as_of)
        return due

    def merge(self, packed: Packed) -> None:
        """Take the verdicts on some devices."""
        numbers = np.frombuffer(packed.handles, np.int64)
        told: dict[str, npt.NDArray[Any] | None] = {
            "codes": np.frombuffer(packed.codes, np.uint8).reshape(len(numbers), self._policies),
            "ends": np.frombuffer(packed.ends, np.int64),
            "results": _parse_leaves(packed.results),
            "inventory": _parse_leaves(packed.inventory),
        }
        block = packed.task.block
        if block is None:
            self._lay_over(numbers, told)
            return
        state = self._state(block)
        places = (numbers % BLOCK_DEVICES).astype(np.intp)
        self._count(state.codes[places], -1)
        for part, said in told.items():
            if said is None:
                state.take_over(part, read_part(self._connection, block, part))
            else:
                state.put(part, places, said)
        self._count(state.codes[places], 1)
        state.since = max(state.since, self._as_of)
        state.digests = packed.digests.stored()

    def _lay_over(self, numbers: Numbers, told: Mapping[str, Any]) -> None:
        if len(numbers):
            self._count(self._read("codes", numbers), -1)
            self._count(told["codes"], 1)
            self._more.append(Changed(numbers, told))
            self._moved.update(_blocks_of(numbers))

    def begin_block(self, block: int) -> set[int]:
        """Judge a block as a whole; answers the numbers of the devices that were in it."""
        state = self._state(block)
        # Everything in it is about to be judged at one moment.
        state.since = LONG_AGO
        there = np.flatnonzero(state.present()) + block * BLOCK_DEVICES
        return set(there.tolist())

    def begin_partly(self, block: int) -> None:
        """Judge a block under some policies, whose states were other ones or none."""
        self._state(block)

    def drop(self, handles: Sequence[int]) -> None:
        """Devices, ascending, that are no longer in the fleet: all of one block, or single ones."""
        numbers = np.array(handles, dtype=np.int64)
        empty = empty_state(self._policies)
        nothing = {
            part: np.repeat(getattr(empty, part)[:1], len(numbers), axis=0) for part in PARTS
        }
        state = self._states.get(int(numbers[0]) // BLOCK_DEVICES)
        if state is None:
            self._lay_over(numbers, nothing)
            return
        places = (numbers % BLOCK_DEVICES).astype(np.intp)
        self._count(state.codes[places], -1)
        state.digests = b""
        for part, said in nothing.items():
            state.put(part, places, said)

    def renew_inventory(self, handles: Sequence[int], leaves: Sequence[bytes]) -> None:
        """Take new leaf hashes of devices, ascending, that were only seen again."""
        numbers, table = np.array(handles, dtype=np.int64), _parse_leaves(b"".join(leaves))
        assert table is not None  # noqa: S101 - there are leaves
        # Of those that were judged too, it is known already.
        new = ~np.isin(numbers, lay_together(self._more).numbers)
        numbers, table = numbers[new], table[new]
        if not self._have_room(len(numbers)):
            self._bring_up(_blocks_of(numbers))
        brought = np.isin(numbers // BLOCK_DEVICES, list(self._states))
        for block in _blocks_of(numbers[brought]):
            state, rows = self._states[block], numbers // BLOCK_DEVICES == block
            state.put("inventory", (numbers[rows] % BLOCK_DEVICES).astype(np.intp), table[rows])
            state.forget_digests(all_of_them=False)
        numbers, table = numbers[~brought], table[~brought]
        if len(numbers):
            told = {part: self._read(part, numbers) for part in PARTS}
            self._more.append(Changed(numbers, told | {"inventory": table}))
            self._seen.update(_blocks_of(numbers))

    def _read(self, part: str, numbers: Numbers) -> npt.NDArray[Any]:
        """What is kept of some devices."""
        blocks = _blocks_of(numbers)
        rows: npt.NDArray[Any] = self._read_blocks(part, blocks)[find_rows(blocks, numbers)[0]]
        return rows

    def _read_blocks(self, part: str, blocks: Sequence[int]) -> npt.NDArray[Any]:
        """What is kept of all devices of some blocks; there, no policy changed its place."""
        return read_rows(self._connection, part, blocks, self._changed, self._policies)

    def _bring_up(self, blocks: Sequence[int]) -> None:
        """Have blocks as states, with all that was laid over them; nothing more will be."""
        laid = lay_together([self._changed, *self._more])
        for block in blocks:
            state = self._state(block, laid)
            if block in self._moved:
                state.since = max(state.since, self._as_of)
            if block in self._moved or block in self._seen:
                state.forget_digests(all_of_them=block in self._moved)

    def _state(self, block: int, laid: Changed | None = None) -> BlockState:
        state = self._states.get(block)
        if state is None:
            state = (
                read_state(self._connection, block, self._kept, laid or self._changed)
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
        laid = lay_together([self._changed, *self._more])
        return self._root("inventory", laid), self._root("results", laid)

    def _root(self, part: str, laid: Changed) -> bytes:
        tables = [np.zeros((0, HASH_BYTES), np.uint8)]
        tables += [getattr(state, part) for state in self._states.values()]
        if self._kept:
            others = sorted({*self._known_blocks(), *laid.blocks()} - self._states.keys())
            tables.append(read_rows(self._connection, part, others, laid, self._policies))
        # What was read stands alone there; a state is needed as it is.
        every = np.concatenate(tables) if self._states else tables[-1]
        return root_of_set(drop_absent(every))

    def _known_blocks(self) -> list[int]:
        return [block for (block,) in self._connection.execute("SELECT block FROM judged_blocks")]

    def write(self, run: int, revision: int, question: Question) -> None:
        """Keep it as what `run` found, inside the caller's transaction; only what differs."""
        execute = self._connection.execute
        if not self._kept:
            for block in set(self._known_blocks()) - self._states.keys():
                execute("DELETE FROM judged_parts WHERE block = ?", (block,))
                execute("DELETE FROM judged_blocks WHERE block = ?", (block,))
        more = lay_together(self._more)
        if self._kept and not self._states and self._have_room() and self._knows(more.blocks()):
            self._keep_beside(more)
        else:
            self._bring_up(sorted({*self._changed.blocks(), *more.blocks()}))
            for block, state in self._states.items():
                write_state(self._connection, block, state, anew=not self._kept)
            forget_changed(self._connection)
        told = {"text": question.text, "policies": dict(question.policies)}
        asked = json.dumps(told, sort_keys=True)
        execute("DELETE FROM judged")
        execute("INSERT INTO judged VALUES (1, ?, ?, ?)", (run, revision, asked))

    def _have_room(self, count: int = 0) -> bool:
        """Whether what is said of single devices, and so many more, may stand beside the blocks."""
        count += len(self._changed) + sum(map(len, self._more))
        return count * MOST_SHARE <= len(self._known_blocks()) * BLOCK_DEVICES

    def _knows(self, blocks: Sequence[int]) -> bool:
        return set(self._known_blocks()).issuperset(blocks)

    def _keep_beside(self, more: Changed) -> None:
        if not len(more):
            return
        keep_changed(self._connection, self._changed, more)
        blocks, laid = more.blocks(), lay_together([self._changed, more])
        ends = read_rows(self._connection, "ends", blocks, laid, self._policies)
        until = ends.reshape(len(blocks), BLOCK_DEVICES).min(axis=1).tolist()
        self._connection.executemany(
            "UPDATE judged_blocks SET since = max(since, ?), until = ?, rows = x'' WHERE block = ?",
            [
                (self._as_of, end, block)
                for end, block in zip(until, blocks, strict=True)
                if block in self._moved
            ],
        )
        self._connection.executemany(
            "UPDATE judged_blocks SET rows = substr(rows, 1, ?) WHERE block = ?",
            [(HASH_BYTES, block) for block in self._seen - self._moved],
        )


def _parse_leaves(told: bytes | None) -> npt.NDArray[np.uint8] | None:
    return None if told is None else np.frombuffer(told, np.uint8).reshape(-1, HASH_BYTES)


def _blocks_of(numbers: Numbers) -> list[int]:
    """The blocks of some devices, ascending."""
    blocks: list[int] = np.unique(numbers // BLOCK_DEVICES).tolist()
    return blocks


def forget(connection: sqlite3.Connection) -> None:
    """Keep nothing, inside the caller's transaction: the next run judges everything."""
    connection.execute("DELETE FROM judged")
