"""The part of a run that can be done anywhere: read some devices, have them judged, pack what is said.

Rule for editors: tasks, what they are done with and what comes of them cross between processes, so
they hold values alone; nothing here writes to the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate import VerdictBatch
from fleetmdm.evaluate.operators.times import NEVER
from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.ledger.roots import InventoryLeaves, ResultLeaves
from fleetmdm.store.port import Batch, Judge, Judged
from fleetmdm.store.sqlite.blocks.columns import BlockReader, NewColumns
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES, read_some_documents
from fleetmdm.store.sqlite.connection import connect
from fleetmdm.store.sqlite.recording.block_state import KeptColumns, read_state
from fleetmdm.store.sqlite.recording.changed import Changed, read_changed
from fleetmdm.store.sqlite.recording.digests import NOT_KNOWN, Digests, digest_block
from fleetmdm.store.sqlite.recording.rows import make_rows, pack_rows, rows_of

READ_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """A whole block, or some devices; one of the first two is set."""

    block: int | None = None
    devices: tuple[int, ...] = ()
    policies: frozenset[str] | None = None
    """Of a block: the only ones under which it is judged; under the others it stands as it is."""
    known: Digests = NOT_KNOWN
    """Of what the newest run left for the block."""


@dataclass(frozen=True, slots=True)
class Packed(Judged):
    """What was said of the devices of a task; arrays as bytes, an item or row for each device."""

    task: Task
    handles: bytes
    codes: bytes
    ends: bytes
    results: bytes | None
    inventory: bytes | None
    rows: bytes | None
    """As `pack_rows` writes them. None, like the leaves, where the task knows that they are kept."""
    digests: Digests
    renewed: NewColumns | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where and with what tasks are done."""

    path: Path
    revision: int
    policies: Mapping[str, int]
    """Numbers of the policies by id, in the order of the ids."""
    salt: bytes
    kept: KeptColumns
    """Of the verdicts that the run builds on."""
    asked: bytes
    """The digest of the question; empty where nothing that is kept can be known again."""
    reads_last_seen: bool

    def open(self) -> Worker:
        """A worker with a connection of its own, for another process."""
        return Worker(connect(self.path, busy_timeout_s=READ_TIMEOUT_S), self)


class Worker:
    """Does tasks, one after the other."""

    def __init__(self, connection: sqlite3.Connection, desk: Desk) -> None:
        self._connection = connection
        self._desk = desk
        self._blocks: BlockReader | None = None
        self._changed: Changed | None = None
        names = list(desk.policies)
        self._results = ResultLeaves(names, STATES, desk.salt)
        self._inventory = InventoryLeaves(desk.salt)

    def do(self, task: Task, judge: Judge) -> Packed:
        """Read the devices of a task and pack what `judge` says of them."""
        renewed = None
        if task.block is None:
            batches: Sequence[Batch] = list(
                read_some_documents(self._connection, self._desk.revision, task.devices)
            )
        else:
            if self._blocks is None:
                self._blocks = BlockReader(self._connection, self._desk.revision)
            read = self._blocks.read(task.block)
            batches, renewed = read.batches, read.renewed
        said = [(batch, judge(batch, task.policies)) for batch in batches]
        packed = self._pack(task, said, renewed)
        return packed if task.policies is None else self._complete(packed, said)

    def _pack(
        self, task: Task, said: Sequence[tuple[Batch, VerdictBatch]], renewed: NewColumns | None
    ) -> Packed:
        digests = self._digest(task, said)
        kept = bool(digests.rows) and digests.rows == task.known.rows
        seen = bool(digests.inventory) and digests.inventory == task.known.inventory
        return Packed(
            count=sum(len(batch) for batch, _ in said),
            task=task,
            handles=b"".join(np.array(batch.handles, np.int64).tobytes() for batch, _ in said),
            codes=b"".join(_codes(verdicts) for _, verdicts in said),
            ends=b"".join(_ends(verdicts).tobytes() for _, verdicts in said),
            results=None if kept else self._hash_results(task, said),
            inventory=None if seen else self._hash_inventory(said),
            rows=None if kept else self._make_rows(said),
            digests=digests,
            renewed=renewed,
        )

    def _digest(self, task: Task, said: Sequence[tuple[Batch, VerdictBatch]]) -> Digests:
        if task.block is None or task.policies is not None or not self._desk.asked:
            return NOT_KNOWN
        return digest_block(self._desk.asked, said, reads_last_seen=self._desk.reads_last_seen)

    def _make_rows(self, said: Sequence[tuple[Batch, VerdictBatch]]) -> bytes:
        parts = [
            part
            for batch, verdicts in said
            for part in rows_of(batch.handles, verdicts, self._desk.policies)
        ]
        return pack_rows(make_rows(parts))

    def _hash_results(self, task: Task, said: Sequence[tuple[Batch, VerdictBatch]]) -> bytes:
        # Where only some policies were judged, the states under the others are still to come.
        whole = said if task.policies is None else ()
        return b"".join(
            hashed for _, each in whole for hashed in self._results.hashes(each.state_codes())
        )

    def _hash_inventory(self, said: Sequence[tuple[Batch, VerdictBatch]]) -> bytes:
        return b"".join(
            hashed
            for batch, _ in said
            for hashed in self._inventory.of(batch.hashes, batch.last_seen)
        )

    def _complete(self, packed: Packed, said: Sequence[tuple[Batch, VerdictBatch]]) -> Packed:
        """Lay what was said of some policies over what is kept of a block."""
        assert packed.task.block is not None  # noqa: S101 - only blocks are judged so
        if self._changed is None:
            self._changed = read_changed(self._connection, self._desk.kept.before)
        kept = read_state(self._connection, packed.task.block, self._desk.kept, self._changed)
        places = np.frombuffer(packed.handles, np.int64) % BLOCK_DEVICES
        codes = kept.codes[places]
        judged = [column.policy_id for column in said[0][1].columns] if said else []
        told = np.frombuffer(packed.codes, np.uint8).reshape(len(places), len(judged))
        names = list(self._desk.policies)
        codes[:, [names.index(name) for name in judged]] = told
        ids = [name for batch, _ in said for name in batch.device_ids]
        hashes = self._results.hashes(zip(ids, map(bytes, codes), strict=True))
        # What is kept may end sooner than needs be, for a policy that changed: then it is judged.
        ends = np.minimum(np.frombuffer(packed.ends, np.int64), kept.ends[places])
        return replace(packed, codes=codes.tobytes(), ends=ends.tobytes(), results=b"".join(hashes))


def _codes(verdicts: VerdictBatch) -> bytes:
    codes = np.empty((len(verdicts.device_ids), len(verdicts.columns)), dtype=np.uint8)
    for place, column in enumerate(verdicts.columns):
        codes[:, place] = column.outcomes
    return codes.tobytes()


def _ends(verdicts: VerdictBatch) -> npt.NDArray[np.int64]:
    ends = np.full(len(verdicts.device_ids), NEVER, dtype=np.int64)
    for column in verdicts.columns:
        if column.until is not None:
            np.minimum(ends, column.until, out=ends)
    return ends
