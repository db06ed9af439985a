"""The part of a run that can be done anywhere: read some devices, have them judged, pack what is said.

Rule for editors: tasks, what they are done with and what comes of them cross between processes, so
they hold values alone; nothing here writes to the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from fleetmdm.store.sqlite.blocks.documents import read_some_documents
from fleetmdm.store.sqlite.connection import connect
from fleetmdm.store.sqlite.recording.rows import digest_rows, make_rows, pack_rows, rows_of

READ_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """A whole block, or some devices; one of the first two is set."""

    block: int | None = None
    devices: tuple[int, ...] = ()
    rows_hash: bytes = b""
    """Of the rows that the newest run left for the block, where they are known."""


@dataclass(frozen=True, slots=True)
class Packed(Judged):
    """What was said of the devices of a task; arrays as bytes, an item or row for each device."""

    task: Task
    handles: bytes
    codes: bytes
    ends: bytes
    results: bytes
    inventory: bytes
    rows: bytes | None
    """As `pack_rows` writes them; None where they are those that the task knows by their hash."""
    rows_hash: bytes
    renewed: NewColumns | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where and with what tasks are done."""

    path: Path
    revision: int
    policies: Mapping[str, int]
    """Numbers of the policies by id, in the order of the ids."""
    salt: bytes

    def open(self) -> Worker:
        """A worker with a connection of its own, for another process."""
        return Worker(connect(self.path, busy_timeout_s=READ_TIMEOUT_S), self)


class Worker:
    """Does tasks, one after the other."""

    def __init__(self, connection: sqlite3.Connection, desk: Desk) -> None:
        self._connection = connection
        self._desk = desk
        self._blocks: BlockReader | None = None
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
        return self._pack(task, [(batch, judge(batch)) for batch in batches], renewed)

    def _pack(
        self, task: Task, said: Sequence[tuple[Batch, VerdictBatch]], renewed: NewColumns | None
    ) -> Packed:
        rows = [
            part
            for batch, verdicts in said
            for part in rows_of(batch.handles, verdicts, self._desk.policies)
        ]
        rows_hash = digest_rows(rows)
        results = [
            hashed for _, each in said for hashed in self._results.hashes(each.state_codes())
        ]
        inventory = [
            hashed
            for batch, _ in said
            for hashed in self._inventory.of(batch.hashes, batch.last_seen)
        ]
        return Packed(
            count=sum(len(batch) for batch, _ in said),
            task=task,
            handles=b"".join(np.array(batch.handles, np.int64).tobytes() for batch, _ in said),
            codes=b"".join(_codes(verdicts) for _, verdicts in said),
            ends=b"".join(_ends(verdicts).tobytes() for _, verdicts in said),
            results=b"".join(results),
            inventory=b"".join(inventory),
            rows=None if rows_hash == task.rows_hash else pack_rows(make_rows(rows)),
            rows_hash=rows_hash,
            renewed=renewed,
        )


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
