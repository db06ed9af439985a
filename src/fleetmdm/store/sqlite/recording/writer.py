"""A run in the making.

Rules for editors: verdicts are staged in temporary tables and compared with what is open before any
lock is taken; the write transaction applies the difference alone, in one piece. A killed or failed
run leaves nothing, because temporary tables die with the connection.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from fleetmdm.device import Device, DocumentBatch
from fleetmdm.evaluate import VerdictBatch
from fleetmdm.evaluate.operators.times import encode_end
from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.governance.assign import Assignment
from fleetmdm.ledger.roots import InventoryLeaves, root_salt
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import SILENT, Run, Status, Verdict
from fleetmdm.store.codec import encode_findings, encode_stamp
from fleetmdm.store.failures import translated
from fleetmdm.store.port import Judge, NewRun, Question, RunHashes
from fleetmdm.store.sqlite.blocks.columns import NewColumns, read_blocks, write_columns
from fleetmdm.store.sqlite.blocks.devices import count_devices, has_devices, read_devices
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES, read_documents
from fleetmdm.store.sqlite.connection import read_fleet_key, trusting, writing
from fleetmdm.store.sqlite.governance.assignments import read_assignments
from fleetmdm.store.sqlite.ledger import append_leaf
from fleetmdm.store.sqlite.policies import keep_forms, load_policies, policy_numbers
from fleetmdm.store.sqlite.recording.basis import (
    kept_columns,
    read_basis,
    read_changed,
    read_counts,
)
from fleetmdm.store.sqlite.recording.block_state import keep_all, read_digests
from fleetmdm.store.sqlite.recording.digests import digest_question
from fleetmdm.store.sqlite.recording.judged import Judged, forget
from fleetmdm.store.sqlite.recording.plan import Plan, make_plan, spread
from fleetmdm.store.sqlite.recording.rows import Row, make_rows, rows_of
from fleetmdm.store.sqlite.recording.staging import Staging
from fleetmdm.store.sqlite.recording.work import Desk, Packed, Task, Worker
from fleetmdm.store.sqlite.revisions import latest_revision
from fleetmdm.store.sqlite.runs import insert_run, newest_run

_ROWS_AT_ONCE: Final = 10_000

_BLOCKS_AT_ONCE: Final = 32
"""Blocks whose new columns are kept in one transaction."""


class SqliteRunWriter:
    """The run of one `begin_run` block."""

    def __init__(self, connection: sqlite3.Connection, path: Path, new: NewRun) -> None:
        self._connection = connection
        self._path = path
        self._new = new
        self._revision = latest_revision(connection)
        self._policies = dict(sorted(policy_numbers(connection, self._revision).items()))
        self._counts: dict[str, Counter[Status]] = {name: Counter() for name in self._policies}
        self._device: tuple[str, int] = ("", 0)
        self._staging = Staging(connection)
        self._question: Question | None = None
        self._plan: Plan | None = None
        self._worker: Worker | None = None
        self._renewed: list[NewColumns] = []
        self._kept = keep_all(len(self._policies))
        self._among = frozenset[int]()
        self._read: tuple[CompliancePolicy, ...] = ()

    def close(self) -> None:
        """Forget what is staged."""
        # After a full disk even this may fail; what went wrong first is what is told.
        with suppress(sqlite3.Error):
            self._staging.drop()

    def devices(self) -> Iterator[Device]:
        """The documents to judge."""
        with translated(self._path):
            yield from read_devices(self._connection, self._revision)

    def device_count(self) -> int:
        """How many documents there are to judge."""
        with translated(self._path):
            return count_devices(self._connection, self._revision)

    def documents(self, batch_devices: int) -> Iterator[DocumentBatch]:
        """The documents to judge, still encoded."""
        with translated(self._path):
            yield from read_documents(self._connection, self._revision, batch_devices)

    def plan(self, question: Question, *, full: bool = False, alone: bool = True) -> int:
        """Find out what has to be judged."""
        with translated(self._path):
            self._question = question
            as_of = encode_end(self._new.as_of)
            self._judged = Judged(self._connection, len(self._policies), as_of)
            basis, newest = read_basis(self._connection), newest_run(self._connection)
            if basis is not None and basis.run != newest:
                basis = None
            if alone:
                self._staging.build_on(newest)
            standing = frozenset() if full or basis is None else basis.standing(question)
            if basis is None or not standing or (not alone and not basis.unchanged(question)):
                known = read_digests(self._connection) if alone and basis else {}
                self._plan = Plan(tuple(read_blocks(self._connection)), known=known)
                return count_devices(self._connection, self._revision)
            self._kept = kept_columns(basis, self._policies, standing)
            counts = read_counts(self._connection, basis.run, self._policies, standing)
            self._judged.build_on(self._kept, counts)
            self._plan = make_plan(self._connection, basis, self._revision, self._judged, question)
            if not basis.unchanged(question):
                self._among = read_changed(self._connection, basis, self._policies, standing)
                every = tuple(read_blocks(self._connection))
                self._plan = spread(self._plan, every, frozenset(self._policies) - standing)
                return count_devices(self._connection, self._revision)
            return len(self._plan.devices) + len(self._plan.blocks) * BLOCK_DEVICES

    def desk(self) -> Desk:
        """With what tasks are done."""
        with translated(self._path):
            salt = root_salt(read_fleet_key(self._connection))
            asked = self._question
            return Desk(
                self._path,
                self._revision,
                self._policies,
                salt,
                self._kept,
                digest_question(asked),
                reads_last_seen=asked is None or asked.reads_last_seen,
            )

    def tasks(self) -> Sequence[Task]:
        """What the plan holds."""
        assert self._plan is not None  # noqa: S101 - the port says so
        return self._plan.tasks()

    def do(self, task: Task, judge: Judge) -> Packed:
        """Do a task in this process."""
        with translated(self._path):
            if self._worker is None:
                self._worker = Worker(self._connection, self.desk())
            return self._worker.do(task, judge)

    def take(self, packed: Packed) -> None:
        """Take what came of a task."""
        with translated(self._path):
            block, among = packed.task.block, None
            handles = np.frombuffer(packed.handles, np.int64).tolist()
            if block is not None and packed.task.policies is not None:
                # Nobody came or went, or else the block would be judged as a whole.
                gone, among = set[int](), self._among
                self._judged.begin_partly(block)
            elif block is None:
                gone = set(packed.task.devices).difference(handles)
            else:
                gone = self._judged.begin_block(block).difference(handles)
            numbers: Sequence[int] = packed.task.devices
            if block is not None:
                numbers = range(block * BLOCK_DEVICES, (block + 1) * BLOCK_DEVICES)
            if gone:
                self._judged.drop(sorted(gone))
            self._judged.merge(packed)
            if packed.rows is not None:
                self._staging.add_packed(packed.rows, numbers, among)
            self._keep_columns(packed.renewed)

    def _keep_columns(self, renewed: NewColumns | None) -> None:
        """Gather new columns, and write them once there are enough, or, of None, all the same."""
        if renewed is not None:
            self._renewed.append(renewed)
        if len(self._renewed) >= _BLOCKS_AT_ONCE:
            self._write_columns()

    def _write_columns(self) -> None:
        if self._renewed:
            with writing(self._connection):
                write_columns(self._connection, self._renewed, self._revision)
            self._renewed.clear()

    def _renew_inventory(self, seen: Sequence[tuple[int, bytes, str]]) -> None:
        if seen:
            handles, hashes, times = zip(*seen, strict=True)
            leaves = InventoryLeaves(root_salt(read_fleet_key(self._connection)))
            self._judged.renew_inventory(handles, leaves.of(hashes, times))

    def roots(self) -> tuple[bytes, bytes]:
        """Over the whole fleet."""
        assert self._plan is not None  # noqa: S101 - the port says so
        with translated(self._path):
            self._write_columns()
            self._renew_inventory(self._plan.seen)
            return self._judged.roots()

    def is_empty(self) -> bool:
        """Whether there is no device to judge."""
        with translated(self._path):
            return not has_devices(self._connection, self._revision)

    def policies(self) -> tuple[CompliancePolicy, ...]:
        """The policies to judge by."""
        with translated(self._path):
            self._read = load_policies(self._connection, self._revision)
            return self._read

    def assignments(self) -> Iterator[Assignment]:
        """Where the policies are assigned."""
        with translated(self._path):
            yield from read_assignments(self._connection, self._revision)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts and stage those that are stored."""
        with translated(self._path):
            stored = self._stored(verdicts)
            while rows := list(islice(stored, _ROWS_AT_ONCE)):
                self._staging.add(rows)

    def add_batch(self, documents: DocumentBatch, verdicts: VerdictBatch) -> None:
        """`add` by columns."""
        with translated(self._path):
            rows = make_rows(list(rows_of(documents.handles, verdicts, self._policies)))
            self._staging.add(rows.whole(), documents.handles)
            for column in verdicts.columns:
                self._counts[column.policy_id].update(column.counts())

    def _stored(self, verdicts: Iterable[Verdict]) -> Iterator[Row]:
        for verdict in verdicts:
            self._counts[verdict.policy_id][verdict.status] += 1
            if verdict.status not in SILENT:
                until = verdict.valid_until
                yield (
                    self._device_number(verdict.device_id),
                    self._policies[verdict.policy_id],
                    verdict.status.value,
                    encode_findings(verdict.findings),
                    None if until is None else encode_stamp(until),
                )

    def _device_number(self, device_id: str) -> int:
        # Verdicts arrive device by device.
        if self._device[0] != device_id:
            row = self._connection.execute(
                "SELECT device FROM device_names WHERE name = ?", (device_id,)
            ).fetchone()
            if row is None:
                raise KeyError(device_id)
            self._device = (device_id, row[0])
        return self._device[1]

    def finish(
        self, *, finished_at: datetime, hashes: RunHashes, leaf: Callable[[Run], bytes]
    ) -> Run:
        """Compare with the newest run, then apply the difference in one transaction."""
        with translated(self._path):
            devices = self._settle_counts()
            self._staging.settle()
            with trusting(self._connection), writing(self._connection):
                run = self._number_run(devices, finished_at, hashes)
                index = append_leaf(self._connection, leaf(run))
                self._staging.settle_again()
                insert_run(self._connection, run, self._revision, index)
                keep_forms(self._connection, self._read)
                self._staging.apply(run.run_id)
                if self._question is None:
                    forget(self._connection)
                else:
                    self._judged.write(run.run_id, self._revision, self._question)
            return run

    def _settle_counts(self) -> int:
        """How many devices there are; the counts by policy are right from then on."""
        if self._question is None:
            return count_devices(self._connection, self._revision)
        for place, name in enumerate(self._policies):
            counted = self._judged.counts[place].tolist()
            self._counts[name] = Counter(dict(zip(STATES, counted, strict=True)))
        return int(self._judged.counts[:1].sum())

    def _number_run(self, devices: int, finished_at: datetime, hashes: RunHashes) -> Run:
        return Run(
            run_id=newest_run(self._connection) + 1,
            started_at=self._new.started_at,
            finished_at=finished_at,
            as_of=self._new.as_of,
            devices=devices,
            policies=len(self._policies),
            counts=_in_order(sum(self._counts.values(), Counter())),
            tool_version=self._new.tool_version,
            policy_set_hash=hashes.policy_set_hash,
            inventory_root=hashes.inventory_root,
            result_root=hashes.result_root,
            policy_counts={name: _in_order(counts) for name, counts in self._counts.items()},
            only_assigned=self._new.only_assigned,
            stale_after_s=self._new.stale_after_s,
        )


def _in_order(counts: Counter[Status]) -> dict[Status, int]:
    return {state: counts[state] for state in Status if counts[state]}
