"""The part of the store's port that records a run, in domain words.

Rules for editors: those of `port`. Nothing of a run shows before it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from fleetmdm.device import Device, DocumentBatch
from fleetmdm.governance.assign import Assignment
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Run, Verdict

if TYPE_CHECKING:
    # For their names alone: who only reads runs need not load what judges.
    from fleetmdm.evaluate import VerdictBatch
    from fleetmdm.evaluate.table import FactBatch


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is known of a run before it judges anything."""

    started_at: datetime
    as_of: datetime
    tool_version: str
    only_assigned: bool = False
    """A policy that is assigned nowhere applies nowhere, also where nothing is assigned at all."""
    stale_after_s: int = 0
    """Inventory older than so many seconds is stale; 0 is never."""


@dataclass(frozen=True, slots=True)
class RunHashes:
    """What a run commits to, known once everything is judged; lower-case hex."""

    policy_set_hash: str
    inventory_root: str
    result_root: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a run asks besides its devices.

    Where `text` differs, every verdict may; where only a policy does, those of that policy.
    """

    text: str
    """Equal where all that is common to all policies is: the evaluator's version, who is assigned."""
    policies: Mapping[str, str]
    """By id, equal for policies that ask the same: sources, parameters, assignments."""
    timely: bool = True
    """Some policy asks about time, so that an earlier `as_of` may change any verdict."""
    reads_last_seen: bool = True
    """Some policy asks when a device was seen."""


class RunOvertaken(Exception):  # noqa: N818 - it asks for another try, it is no error
    """Another run was recorded while this one built on the verdicts of the one before."""


Batch: TypeAlias = "FactBatch | DocumentBatch"


class Judge(Protocol):
    """Judges devices."""

    def __call__(self, batch: Batch, only: Collection[str] | None = None) -> VerdictBatch:
        """Their verdicts under every policy, or under those with some ids."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a task; what else it holds is for the store that made it."""

    count: int
    """Devices that were judged."""


T_contra = TypeVar("T_contra", contravariant=True)


class TaskWorker(Protocol[T_contra]):
    """Does tasks of a run, in whatever process."""

    def do(self, task: T_contra, judge: Judge) -> Judged:
        """Read the devices of a task and have them judged."""
        ...


class TaskDesk(Protocol[T_contra]):
    """What a worker in another process needs; can be pickled."""

    def open(self) -> TaskWorker[T_contra]:
        """A worker for the process that calls."""
        ...


class RunWriter(Protocol):
    """One run in the making; nothing shows to others before `finish` returns.

    The run judges the moment at which it began: read devices and policies from here, so that what
    it pins is what was judged, whatever others ingest meanwhile. A run judges every device under
    every policy; a check of a part of them is not a run and is not recorded.
    """

    def devices(self) -> Iterator[Device]:
        """The documents to judge, in the order of their ids; may be read more than once."""
        ...

    def device_count(self) -> int:
        """How many `devices` gives."""
        ...

    def is_empty(self) -> bool:
        """Whether `devices` gives none."""
        ...

    def documents(self, batch_devices: int) -> Iterator[DocumentBatch]:
        """The same documents as `devices`, still encoded, in batches of at most so many."""
        ...

    def plan(self, question: Question, *, full: bool = False, alone: bool = True) -> int:
        """Find out what has to be judged; answers about how many devices.

        Unless `full`, verdicts of the newest run stay where nothing can have changed them. `alone`
        trusts that nobody records a run meanwhile: then `finish` may raise `RunOvertaken`.
        """
        ...

    def tasks(self) -> Sequence[Any]:
        """The parts of the plan; `do` each, here or in another process, and `take` what comes."""
        ...

    def desk(self) -> TaskDesk[Any]:
        """With what workers in other processes do the tasks."""
        ...

    def do(self, task: Any, judge: Judge) -> Any:
        """Do a task in this process."""
        ...

    def take(self, judged: Any) -> None:
        """Take what came of a task, in whatever order."""
        ...

    def policies(self) -> tuple[CompliancePolicy, ...]:
        """The policies to judge by, in the order of their ids. Raises `policy_invalid`."""
        ...

    def assignments(self) -> Iterator[Assignment]:
        """Where the policies are assigned, by policy, then scope."""
        ...

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Verdicts, passes included (they are counted, not stored); at most one for each pair."""
        ...

    def add_batch(self, documents: DocumentBatch, verdicts: VerdictBatch) -> None:
        """`add` for all verdicts on a batch that `documents` gave."""
        ...

    def roots(self) -> tuple[bytes, bytes]:
        """After all tasks: the roots of inventory and results over the whole fleet."""
        ...

    def finish(
        self, *, finished_at: datetime, hashes: RunHashes, leaf: Callable[[Run], bytes]
    ) -> Run:
        """Close the intervals that no longer hold, open the new ones, append the ledger leaf.

        `leaf` makes the canonical leaf of the run once its number is known. Raises `RunOvertaken`.
        """
        ...
