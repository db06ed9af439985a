"""Service levels: what a load must reach, the gates that name a load with its targets.

Rule for editors: a figure that cannot be read is a miss with that reason, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from secretivex.bench.run import Outcome
from secretivex.bench.scenario import Scenario
from secretivex.errors import SecretiveError

Snapshot = Mapping[str, Any]
"""The agent's own metrics; empty where it has none."""

Read = Callable[[Outcome, Snapshot], float | None]


@dataclass(frozen=True, slots=True)
class TargetKind:
    """Something that a target can be set for."""

    name: str
    meaning: str
    read: Read
    is_floor: bool = False


def _latency(percent: float) -> Read:
    return lambda outcome, _: (
        outcome.tally.latency.percentile(percent) / 1e6 if outcome.tally.latency.total else None
    )


def _queue_wait(name: str) -> Read:
    def read(_outcome: Outcome, snapshot: Snapshot) -> float | None:
        found = (snapshot.get("queue_wait_percentiles") or {}).get(name)
        return None if found is None else float(found["ns"]) / 1e6

    return read


TARGET_KINDS: Mapping[str, TargetKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            TargetKind("p50_ms", "median latency", _latency(50)),
            TargetKind("p95_ms", "latency that 95 % of the requests keep", _latency(95)),
            TargetKind("p99_ms", "latency that 99 % keep", _latency(99)),
            TargetKind("max_ms", "the longest latency", _latency(100)),
            TargetKind("min_rps", "answers a second", lambda o, _: o.throughput_per_s, True),
            TargetKind(
                "max_failure_rate", "share of requests that fail", lambda o, _: o.failure_rate
            ),
            TargetKind("queue_wait_p50_ms", "queue wait, as the agent tells", _queue_wait("p50")),
            TargetKind("queue_wait_p95_ms", "the same at 95 %", _queue_wait("p95")),
            TargetKind("queue_wait_p99_ms", "the same at 99 %", _queue_wait("p99")),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, what was measured, and whether it was kept."""

    target: str
    limit: float
    measured: float | None
    clients: int

    @property
    def is_met(self) -> bool:
        """Whether the limit was kept."""
        if self.measured is None:
            return False
        if TARGET_KINDS[self.target].is_floor:
            return self.measured >= self.limit
        return self.measured <= self.limit

    @property
    def reason(self) -> str:
        """The verdict in words."""
        sign = ">=" if TARGET_KINDS[self.target].is_floor else "<="
        wish = f"{self.target} {sign} {self.limit:g}"
        if self.measured is None:
            return f"{self.clients} clients: {wish}: no figure to judge by"
        return f"{self.clients} clients: {wish}: measured {self.measured:.6g}"


def judge(outcome: Outcome, targets: Mapping[str, float], snapshot: Snapshot) -> list[Verdict]:
    """Every target with its verdict."""
    return [
        Verdict(name, limit, TARGET_KINDS[name].read(outcome, snapshot), outcome.scenario.clients)
        for name, limit in targets.items()
    ]


def parse_targets(text: str) -> dict[str, float]:
    """`p95_ms=300,min_rps=3400`; raises `usage` and says which word is wrong."""
    targets = {}
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if name.strip() not in TARGET_KINDS:
            known = ", ".join(TARGET_KINDS)
            raise SecretiveError(
                "usage", f"unknown target {name.strip()!r}", hint=f"known: {known}"
            )
        try:
            targets[name.strip()] = float(value)
        except ValueError:
            message = f"target {word.strip()!r} needs a number after ="
            raise SecretiveError("usage", message) from None
    return targets


@dataclass(frozen=True, slots=True)
class Gate:
    """A load with its targets; stress has several tiers of clients, each a run of its own."""

    name: str
    meaning: str
    tiers: tuple[int, ...]
    targets: Mapping[str, float]
    duration_s: float = 0.0
    count_each: int = 0
    warmup_s: float = 2.0
    ramp_s: float = 0.0

    def scenarios(self, base: Scenario, *, duration_s: float | None = None) -> list[Scenario]:
        """A run a tier, reconnecting for each signature; `duration_s` shortens or prolongs it."""
        if self.count_each and duration_s is None:
            length: dict[str, Any] = {"count": self.count_each * self.tiers[0], "duration_s": 0.0}
        else:
            length = {"count": 0, "duration_s": duration_s or self.duration_s}
        return [
            replace(
                base,
                reconnect=True,
                clients=clients,
                warmup_s=self.warmup_s,
                ramp_s=self.ramp_s,
                **length,
            )
            for clients in self.tiers
        ]


GATES: Mapping[str, Gate] = MappingProxyType(
    {
        gate.name: gate
        for gate in (
            Gate(
                "smoke",
                "a second on any machine: does it hold at all",
                (128,),
                {"max_failure_rate": 0, "min_rps": 25},
                count_each=8,
                warmup_s=0.2,
            ),
            Gate(
                "slo",
                "the service level: a thousand clients on two cores they share with the load",
                (1000,),
                {"max_failure_rate": 0, "p95_ms": 300, "min_rps": 3400},
                duration_s=20,
                ramp_s=1.5,
            ),
            Gate(
                "fanout-1000",
                "a thousand clients, on a machine that may be busy with other work",
                (1000,),
                {"max_failure_rate": 0, "p95_ms": 300},
                duration_s=15,
                ramp_s=1.5,
            ),
            Gate(
                "soak",
                "sustained load; `secretive-bench soak` also follows memory and descriptors",
                (512,),
                {"max_failure_rate": 0.001, "p95_ms": 320},
                duration_s=1200,
                ramp_s=1.5,
            ),
            Gate(
                "stress",
                "ever more clients, five minutes each",
                (512, 1024, 1536, 4096),
                {"max_failure_rate": 0.001},
                duration_s=300,
                ramp_s=2,
            ),
        )
    }
)
"""By name."""
