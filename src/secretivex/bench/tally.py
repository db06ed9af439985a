"""What was counted: latencies and failures, in slices of time that add up to the whole run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from secretivex.bench.histogram import Histogram, merge

FailureKind = Literal[
    "connect",
    "connect_timeout",
    "timeout",
    "closed",
    "refused",
    "malformed",
    "unsent",
    "bad_signature",
]
"""How a request can end without an answer that counts; `unsent` was due and never had a client."""

FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


@dataclass(slots=True)
class Slice:
    """What ended in one slice of time."""

    latency: Histogram = field(default_factory=Histogram)
    failures: Counter[FailureKind] = field(default_factory=Counter)
    completed: int = 0


@dataclass(slots=True)
class Sample:
    """A reply kept for verification: the number that made its data unique, and its payload."""

    serial: int
    reply: bytes


@dataclass(slots=True)
class Tally:
    """The count of one process, or of all."""

    slices: dict[int, Slice] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    busy_share: float = 0.0
    """Share of the window in which this process used a core; the largest one of all processes."""
    last_ns: int = 0
    """When the last request of the window ended."""
    verified: int = 0

    def at(self, index: int) -> Slice:
        """The slice of an index, made when first asked for."""
        found = self.slices.get(index)
        if found is None:
            found = self.slices[index] = Slice()
        return found

    def add(self, other: Tally) -> None:
        """Count what another process counted; its samples are left with it."""
        for index, one in other.slices.items():
            mine = self.at(index)
            mine.latency.add(one.latency)
            mine.failures.update(one.failures)
            mine.completed += one.completed
        self.busy_share = max(self.busy_share, other.busy_share)
        self.last_ns = max(self.last_ns, other.last_ns)
        self.verified += other.verified

    @property
    def latency(self) -> Histogram:
        """Of the whole run."""
        return merge(one.latency for one in self.slices.values())

    @property
    def failures(self) -> Counter[FailureKind]:
        """Of the whole run, by kind."""
        whole: Counter[FailureKind] = Counter()
        for one in self.slices.values():
            whole.update(one.failures)
        return whole

    @property
    def completed(self) -> int:
        """Requests whose answer came within the window."""
        return sum(one.completed for one in self.slices.values())
