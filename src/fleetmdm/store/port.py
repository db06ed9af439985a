"""The store, in domain words. Commands know this port and never a database.

Rules for editors: no SQL word, cursor or path shows through; every iterator streams; times are
aware and in UTC; each method is one transaction unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from fleetmdm.device import Device, DocumentBatch
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import ResultRow, Run, Status, Transition
from fleetmdm.store.governance_port import GovernanceStore
from fleetmdm.store.inventory_port import (
    MAX_CONFLICTING,
    NO_BASES,
    IngestCounts,
    Intake,
    InventoryStore,
    Retired,
    SerialConflict,
    SnapshotOvertaken,
)
from fleetmdm.store.run_port import (
    Batch,
    Judge,
    Judged,
    NewRun,
    Question,
    RunHashes,
    RunOvertaken,
    RunWriter,
    TaskDesk,
    TaskWorker,
)
from fleetmdm.store.upkeep_port import UpkeepStore

__all__ = [
    "MAX_CONFLICTING",
    "NO_BASES",
    "Batch",
    "FleetStore",
    "IngestCounts",
    "Intake",
    "Judge",
    "Judged",
    "NewRun",
    "PopulationChange",
    "Presence",
    "Question",
    "Retired",
    "RunHashes",
    "RunOvertaken",
    "RunWriter",
    "SerialConflict",
    "SnapshotOvertaken",
    "TaskDesk",
    "TaskWorker",
]


class Presence(StrEnum):
    """How the population of one run differs from that of an earlier one."""

    NEW = "new"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class PopulationChange:
    """A device or a policy that only one of two runs knew."""

    kind: str
    """"device" or "policy"."""
    id: str
    presence: Presence


class FleetStore(InventoryStore, GovernanceStore, UpkeepStore, Protocol):
    """Devices, policies, runs and the ledger of one fleet; more in its bases."""

    def close(self) -> None:
        """Release the database; the store is not used again."""
        ...

    # Policies.

    def put_policies(self, policies: Sequence[CompliancePolicy], *, now: datetime) -> None:
        """Add or replace policies by id; older versions stay with the runs that used them."""
        ...

    def policy_sources(self) -> Iterator[tuple[str, bytes]]:
        """(id, exact source) of every current policy in the order of their ids."""
        ...

    def policies(self, chosen: Collection[str] | None = None) -> tuple[CompliancePolicy, ...]:
        """Current policies in the order of their ids, or those of some ids; `policy_invalid`."""
        ...

    def remove_policy(self, policy_id: str, *, now: datetime) -> None:
        """End a policy's interval. Raises `policy_not_found`."""
        ...

    # Runs and results.

    def begin_run(self, run: NewRun) -> AbstractContextManager[RunWriter]:
        """A run in the making; leaving the context without `finish` undoes it all."""
        ...

    def runs(self, *, limit: int = 0) -> Iterator[Run]:
        """Runs, newest first; 0 is all."""
        ...

    def run(self, run_id: int) -> Run:
        """One run. Raises `run_not_found`."""
        ...

    def run_moments(self) -> dict[int, datetime]:
        """The `as_of` of every run, pruned ones that intervals still refer to included."""
        ...

    def results(
        self,
        run_id: int,
        *,
        device_id: str | None = None,
        policy_id: str | None = None,
        statuses: frozenset[Status] = frozenset(),
    ) -> Iterator[ResultRow]:
        """The stored (never silent) verdicts of a run, by device id, then policy id."""
        ...

    def intervals(
        self,
        *,
        first_run: int = 0,
        last_run: int | None = None,
        device_id: str | None = None,
        policy_id: str | None = None,
        statuses: frozenset[Status] = frozenset(),
    ) -> Iterator[ResultRow]:
        """Every interval that holds at a run from `first_run` to `last_run`, newest first."""
        ...

    def failing_since(self, run_id: int) -> dict[tuple[str, str], int]:
        """(device id, policy id) -> the run at which an unbroken line of problems began.

        Only where that is earlier than the `since_run` of the row that holds at the run.
        """
        ...

    def run_last_seen(self, run_id: int) -> Iterator[tuple[str, datetime]]:
        """(device id, when its newest source saw it) as a run knew it, by device id."""
        ...

    def run_saw_before(self, run_id: int, moment: datetime) -> bool:
        """Whether any source last saw a device before a moment, as a run knew it; quick."""
        ...

    def run_devices(self, run_id: int, *, device_id: str | None = None) -> Iterator[Device]:
        """The documents that a run judged, as they were then, in the order of their ids."""
        ...

    def run_documents(self, run_id: int, batch_devices: int) -> Iterator[DocumentBatch]:
        """The same devices, still as bytes, about so many at a time."""
        ...

    def run_intake(self, run_id: int) -> Intake:
        """What had come in when a run began. Raises `run_not_found`."""
        ...

    def run_retired(self, run_id: int) -> Iterator[Retired]:
        """Devices that had left the fleet when a run began, by id."""
        ...

    def run_policies(self, run_id: int) -> Iterator[tuple[str, bytes]]:
        """(id, exact source) of the policies that a run used, in the order of their ids."""
        ...

    def policies_of_run(
        self, run_id: int, chosen: Collection[str] | None = None
    ) -> tuple[CompliancePolicy, ...]:
        """`policies` as a run used them. Raises `run_not_found`, `policy_invalid`."""
        ...

    def transitions(self, before: int, after: int) -> Iterator[Transition]:
        """Verdicts whose status differs between two runs, by device id, then policy id.

        Pairs of which one run did not know the device or the policy are among them.
        """
        ...

    def population_changes(self, before: int, after: int) -> Iterator[PopulationChange]:
        """Devices, then policies, that only one of two runs knew, each by id."""
        ...
