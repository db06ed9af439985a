"""What the newest run found on every device: kept by block, so that the next one can build on it.

Rule for editors: what is kept here follows from the run alone; it is replaced with it, in one piece.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import NEVER
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
    empty_state,
    read_part,
    read_state,
)
from fleetmdm.store.sqlite.recording.changed import (
    MOST_SHARE,
    PARTS,
    Changed,
    forget_changed,
    keep_changed,
    read_changed,
)
from fleetmdm.store.sqlite.recording.digests import Digests, parse_digests
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
        self._kept: KeptColumns | None = None
        """Where blocks that were not touched stay as they are."""
        self._changed = Changed()
        """What is kept beside the blocks that this builds on."""
        self._touched: list[npt.NDArray[np.int64]] = []
        """The numbers of devices that were judged, dropped or seen one by one."""
        self._whole = False
        """A block was judged as a whole, or all were under some policies."""
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
            ends = read_state(self._connection, block, self._kept, self._changed).ends
            due[block] = np.flatnonzero(ends <= self._as_of)
        return due

    def merge(self, packed: Packed) -> None:
        """Take the verdicts on some devices."""
        numbers = np.frombuffer(packed.handles, np.int64)
        codes = np.frombuffer(packed.codes, np.uint8).reshape(len(numbers), self._policies)
        ends = np.frombuffer(packed.ends, np.int64)
        leaves = {"results": packed.results, "inventory": packed.inventory}
        before = []
        for block, rows, places in self._by_block(numbers):
            state = self._state(block)
            before.append(state.codes[places])
            state.put("codes", places, codes[rows])
            state.put("ends", places, ends[rows])
            for part, told in leaves.items():
                if told is None:
                    state.take_over(part, read_part(self._connection, block, part))
                else:
                    hashes = np.frombuffer(told, np.uint8).reshape(-1, HASH_BYTES)
                    state.put(part, places, hashes[rows])
            state.since = max(state.since, self._as_of)
            state.digests = packed.digests.stored()
        self._count(codes, 1)
        self._count(np.concatenate([codes[:0], *before]), -1)

    def begin_block(self, block: int) -> set[int]:
        """Judge a block as a whole; answers the numbers of the devices that were in it."""
        self._whole = True
        state = self._state(block)
        # Everything in it is about to be judged at one moment.
        state.since = LONG_AGO
        there = np.flatnonzero(state.present()) + block * BLOCK_DEVICES
        return set(there.tolist())

    def begin_partly(self, block: int) -> None:
        """Judge a block under some policies, whose states were other ones or none."""
        self._whole = True
        self._state(block)

    def renew_inventory(self, handles: Sequence[int], leaves: Sequence[bytes]) -> None:
        """Take new leaf hashes of devices that were only seen again."""
        table = np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, HASH_BYTES)
        for block, rows, places in self._by_block(np.array(handles, dtype=np.int64)):
            state = self._state(block)
            state.put("inventory", places, table[rows])
            state.digests = Digests(parse_digests(state.digests).rows).stored()

    def drop(self, handles: Sequence[int]) -> None:
        """Devices that are no longer in the fleet."""
        for block, _, places in self._by_block(np.array(handles, dtype=np.int64)):
            state = self._state(block)
            self._count(state.codes[places], -1)
            state.digests = b""
            for part, nothing in (
                ("codes", ABSENT),
                ("ends", NEVER),
                ("results", 0),
                ("inventory", 0),
            ):
                state.put(part, places, nothing)

    def _by_block(
        self, numbers: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, slice | Places, Places]]:
        self._touched.append(numbers)
        blocks, places = numbers // BLOCK_DEVICES, (numbers % BLOCK_DEVICES).astype(np.intp)
        ordered = bool((blocks[1:] >= blocks[:-1]).all())
        for block in np.unique(blocks).tolist():
            begin, end = np.searchsorted(blocks, (block, block + 1)).tolist() if ordered else (0, 0)
            rows = slice(begin, end) if ordered else np.flatnonzero(blocks == block)
            yield block, rows, places[rows]

    def _state(self, block: int) -> BlockState:
        state = self._states.get(block)
        if state is None:
            state = (
                read_state(self._connection, block, self._kept, self._changed)
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
                self._changed.lay_over(
                    self._changed.within(block),
                    part,
                    np.frombuffer(data, np.uint8).reshape(-1, HASH_BYTES),
                )
                for block, data in rows
                if block not in self._states
            ]
        if not tables:
            return root_of_set(b"")
        every = np.concatenate(tables)
        words = every.view(np.uint64)
        # Hardly ever does a hash begin with eight zeros; then all of it is looked at.
        there = words[:, 0] != 0
        if not there.all():
            there = words.any(axis=1)
        return root_of_set((every if there.all() else every[there]).tobytes())

    def write(self, run: int, revision: int, question: Question) -> None:
        """Keep it as what `run` found, inside the caller's transaction; only what differs."""
        execute = self._connection.execute
        if not self._kept:
            stored = [block for (block,) in execute("SELECT block FROM judged_blocks")]
            for block in set(stored) - set(self._states):
                execute("DELETE FROM judged_parts WHERE block = ?", (block,))
                execute("DELETE FROM judged_blocks WHERE block = ?", (block,))
        more = self._few_changes()
        if more is None:
            for block in self._changed.blocks():
                self._state(block)
        for block, state in self._states.items():
            self._write_block(block, state)
            if more is None:
                self._write_parts(block, state)
        if more is None:
            forget_changed(self._connection)
        elif len(more):
            keep_changed(self._connection, self._changed, more)
        told = {"text": question.text, "policies": dict(question.policies)}
        asked = json.dumps(told, sort_keys=True)
        execute("DELETE FROM judged")
        execute("INSERT INTO judged VALUES (1, ?, ?, ?)", (run, revision, asked))

    def _few_changes(self) -> Changed | None:
        """What may be kept beside the blocks; None where these are to be written again."""
        if not self._kept or self._whole:
            return None
        if not self._touched:
            return Changed()
        numbers = np.unique(np.concatenate(self._touched))
        sql = "SELECT count(*) FROM judged_blocks"
        room = self._connection.execute(sql).fetchone()[0] * BLOCK_DEVICES
        written = all(state.written for state in self._states.values())
        if not written or (len(numbers) + len(self._changed)) * MOST_SHARE > room:
            return None
        blocks = [
            (self._state(block), numbers[numbers // BLOCK_DEVICES == block] % BLOCK_DEVICES)
            for block in sorted(set((numbers // BLOCK_DEVICES).tolist()))
        ]
        return Changed(
            numbers,
            {
                part: np.concatenate([getattr(state, part)[places] for state, places in blocks])
                for part in PARTS
            },
        )

    def _write_block(self, block: int, state: BlockState) -> None:
        self._connection.execute(
            "INSERT INTO judged_blocks VALUES (?, ?, ?, ?) ON CONFLICT (block) DO UPDATE"
            " SET since = excluded.since, until = excluded.until, rows = excluded.rows"
            " WHERE (since, until, rows) IS NOT (excluded.since, excluded.until, excluded.rows)",
            (block, state.since, state.until(), state.digests),
        )

    def _write_parts(self, block: int, state: BlockState) -> None:
        wanted = (
            list(state.changed) if self._kept else [one for one in PARTS if one not in state.kept]
        )
        parts = {part: getattr(state, part).data.cast("B") for part in wanted}
        kept = {}
        if not self._kept:
            # Begun from nothing: what came out may be what is kept all the same.
            kept = dict(
                self._connection.execute(
                    "SELECT part, data FROM judged_parts"
                    " WHERE block = ? AND part IN (SELECT value FROM json_each(?))",
                    (block, json.dumps(wanted)),
                ).fetchall()
            )
        self._connection.executemany(
            "INSERT INTO judged_parts VALUES (?, ?, ?)"
            " ON CONFLICT (block, part) DO UPDATE SET data = excluded.data",
            [(block, part, data) for part, data in parts.items() if kept.get(part) != data],
        )


def read_digests(connection: sqlite3.Connection) -> dict[int, Digests]:
    """By block, of what the run whose verdicts are kept left in it."""
    rows = connection.execute("SELECT block, rows FROM judged_blocks")
    return {block: parse_digests(stored) for block, stored in rows}


def forget(connection: sqlite3.Connection) -> None:
    """Keep nothing, inside the caller's transaction: the next run judges everything."""
    connection.execute("DELETE FROM judged")
