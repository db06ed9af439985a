"""`FleetStore` over SQLite: one method, one function of the modules beside this one.

Rule for editors: no SQL here; every method translates errors, iterators included. What takes in
documents or records runs is imported where that is done: most commands only read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleetmdm.device import Device, DocumentBatch
from fleetmdm.ingest.sources import Source
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import ResultRow, Run, Status, Transition
from fleetmdm.store.failures import translated, translated_files
from fleetmdm.store.incoming import BlockSource, device_blocks
from fleetmdm.store.migrations import Migration, load_migrations
from fleetmdm.store.port import (
    NO_BASES,
    IngestCounts,
    Intake,
    NewRun,
    PopulationChange,
    Retired,
    SerialConflict,
)
from fleetmdm.store.sqlite import identity, intake, policies, results, runs
from fleetmdm.store.sqlite.blocks import devices, documents
from fleetmdm.store.sqlite.connection import connect, create_file
from fleetmdm.store.sqlite.governance.methods import SqliteGovernance
from fleetmdm.store.sqlite.revisions import latest_revision
from fleetmdm.store.sqlite.upgrade import upgrade
from fleetmdm.store.sqlite.upkeep import SqliteUpkeep

if TYPE_CHECKING:
    from fleetmdm.store.sqlite.recording.writer import SqliteRunWriter

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for another's short transaction before it is `database_locked`."""


def open_store(
    path: Path,
    *,
    now: datetime,
    create: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    migrations: Sequence[Migration] | None = None,
) -> SqliteStore:
    """The store at `path`, migrated to this version; `create` makes it where there is none.

    Raises `database_not_found`, `database_invalid`, `database_too_new`, `database_locked`,
    `database_read_only` or `disk_full`.
    """
    steps = load_migrations() if migrations is None else migrations
    with translated_files(path):
        if create:
            create_file(path, steps, now=now)
        connection = connect(path, busy_timeout_s=busy_timeout_s)
        try:
            upgrade(connection, path, steps, now=now)
        except BaseException:
            connection.close()
            raise
    return SqliteStore(connection, path)


class SqliteStore(SqliteGovernance, SqliteUpkeep):
    """One connection; not shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def close(self) -> None:
        """Close the connection."""
        with translated(self._path):
            self._connection.close()

    def put_devices(
        self,
        devices: Iterable[Device],
        *,
        source: Source = Source.DOCUMENT,
        now: datetime,
        based_on: Mapping[str, str | None] = NO_BASES,
    ) -> IngestCounts:
        """Keep documents, all or nothing."""
        blocks = device_blocks(devices)
        return self.put_blocks(blocks, source=source, now=now, based_on=based_on)

    def put_blocks(
        self,
        blocks: BlockSource,
        *,
        source: Source = Source.DOCUMENT,
        now: datetime,
        based_on: Mapping[str, str | None] = NO_BASES,
    ) -> IngestCounts:
        """Keep documents, all or nothing."""
        from fleetmdm.store.sqlite import inventory

        with translated_files(self._path):
            return inventory.put_blocks(
                self._connection, blocks, source=source, now=now, based_on=based_on
            )

    def devices(self, *, device_id: str | None = None) -> Iterator[Device]:
        """Current devices."""
        with translated(self._path):
            revision = latest_revision(self._connection)
            yield from devices.read_devices(self._connection, revision, device_id=device_id)

    def snapshot(self, device_id: str, source: Source) -> Device | None:
        """What one source says of a device."""
        with translated(self._path):
            return identity.read_snapshot(self._connection, device_id, source)

    def tag_device(
        self, device_id: str, *, add: Collection[str], remove: Collection[str], now: datetime
    ) -> Device:
        """Change the tags that people gave."""
        with translated(self._path):
            return identity.tag_device(self._connection, device_id, add=add, remove=remove, now=now)

    def serial_conflicts(self) -> Iterator[SerialConflict]:
        """Serial numbers that several devices claim."""
        with translated(self._path):
            yield from identity.read_serial_conflicts(self._connection)

    def device_count(self) -> int:
        """How many devices are current."""
        with translated(self._path):
            return devices.count_devices(self._connection, latest_revision(self._connection))

    def device_ids(self, *, prefix: str = "", limit: int = 0) -> Iterator[str]:
        """Ids of current devices."""
        with translated(self._path):
            yield from identity.read_device_ids(self._connection, prefix=prefix, limit=limit)

    def retire_device(self, device_id: str, *, now: datetime) -> None:
        """Let a device leave the fleet."""
        with translated(self._path):
            identity.retire_device(self._connection, device_id, now=now)

    def put_policies(self, new: Sequence[CompliancePolicy], *, now: datetime) -> None:
        """Add or replace policies."""
        with translated(self._path):
            policies.put_policies(self._connection, new, now=now)

    def policy_sources(self) -> Iterator[tuple[str, bytes]]:
        """Current policies."""
        with translated(self._path):
            yield from policies.read_policies(self._connection, latest_revision(self._connection))

    def policies(self, chosen: Collection[str] | None = None) -> tuple[CompliancePolicy, ...]:
        """Current policies, read."""
        with translated(self._path):
            revision = latest_revision(self._connection)
            return policies.load_policies(self._connection, revision, chosen)

    def remove_policy(self, policy_id: str, *, now: datetime) -> None:
        """End a policy's interval."""
        with translated(self._path):
            policies.remove_policy(self._connection, policy_id, now=now)

    @contextmanager
    def begin_run(self, run: NewRun) -> Iterator[SqliteRunWriter]:
        """A run in the making."""
        from fleetmdm.store.sqlite.recording.writer import SqliteRunWriter

        with translated(self._path):
            writer = SqliteRunWriter(self._connection, self._path, run)
        try:
            yield writer
        finally:
            with translated(self._path):
                writer.close()

    def runs(self, *, limit: int = 0) -> Iterator[Run]:
        """Runs, newest first."""
        with translated(self._path):
            yield from runs.read_runs(self._connection, limit=limit)

    def run(self, run_id: int) -> Run:
        """One run."""
        with translated(self._path):
            return runs.read_run(self._connection, run_id)

    def run_moments(self) -> dict[int, datetime]:
        """The `as_of` of every run, pruned ones that intervals still refer to included."""
        with translated(self._path):
            return runs.read_moments(self._connection)

    def results(
        self,
        run_id: int,
        *,
        device_id: str | None = None,
        policy_id: str | None = None,
        statuses: frozenset[Status] = frozenset(),
    ) -> Iterator[ResultRow]:
        """The stored verdicts of a run."""
        with translated(self._path):
            yield from results.read_results(
                self._connection,
                run_id,
                device_id=device_id,
                policy_id=policy_id,
                statuses=statuses,
            )

    def intervals(
        self,
        *,
        first_run: int = 0,
        last_run: int | None = None,
        device_id: str | None = None,
        policy_id: str | None = None,
        statuses: frozenset[Status] = frozenset(),
    ) -> Iterator[ResultRow]:
        """Intervals over a range of runs."""
        with translated(self._path):
            yield from results.read_intervals(
                self._connection,
                (first_run, last_run),
                device_id=device_id,
                policy_id=policy_id,
                statuses=statuses,
            )

    def failing_since(self, run_id: int) -> dict[tuple[str, str], int]:
        """At which run an unbroken line of problems began, where the row does not tell."""
        with translated(self._path):
            return results.read_failing_since(self._connection, run_id)

    def run_last_seen(self, run_id: int) -> Iterator[tuple[str, datetime]]:
        """When each device was seen, as a run knew it."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            yield from devices.read_last_seen(self._connection, revision)

    def run_saw_before(self, run_id: int, moment: datetime) -> bool:
        """Whether any source last saw a device before a moment."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            return devices.any_seen_before(self._connection, revision, moment)

    def run_devices(self, run_id: int, *, device_id: str | None = None) -> Iterator[Device]:
        """The documents that a run judged."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            yield from devices.read_devices(self._connection, revision, device_id=device_id)

    def run_documents(self, run_id: int, batch_devices: int) -> Iterator[DocumentBatch]:
        """The documents that a run judged, as bytes."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            yield from documents.read_documents(self._connection, revision, batch_devices)

    def run_intake(self, run_id: int) -> Intake:
        """What had come in when a run began."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            return intake.read_intake(self._connection, revision)

    def run_retired(self, run_id: int) -> Iterator[Retired]:
        """Devices that had left the fleet when a run began."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            yield from intake.read_retired(self._connection, revision)

    def run_policies(self, run_id: int) -> Iterator[tuple[str, bytes]]:
        """The policies that a run used."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            yield from policies.read_policies(self._connection, revision)

    def policies_of_run(
        self, run_id: int, chosen: Collection[str] | None = None
    ) -> tuple[CompliancePolicy, ...]:
        """The policies that a run used, read."""
        with translated(self._path):
            revision = runs.revision_of(self._connection, run_id)
            return policies.load_policies(self._connection, revision, chosen)

    def transitions(self, before: int, after: int) -> Iterator[Transition]:
        """Verdicts whose status differs between two runs."""
        with translated(self._path):
            yield from results.read_transitions(self._connection, before, after)

    def population_changes(self, before: int, after: int) -> Iterator[PopulationChange]:
        """Devices and policies that only one of two runs knew."""
        with translated(self._path):
            yield from results.read_population_changes(self._connection, before, after)
