"""Every metric that the agent has: one row each, from which renderings and documents are made.

Rule for editors: a name is a promise; a counter never falls while the agent runs, whatever its
processes do. What is counted under a label has as many series as the agent met values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

PREFIX = "secretivex_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is also the name of its cells; `labels` part a cell's label at "/".

    A metric that is told `per_process` has a label `process` and is not summed. `from_start` are
    labels that are told before anything is counted under them: Prometheus sees no increase in a
    series that begins with its first event, so what an alert waits for must stand at 0 before.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    per_process: bool = False
    source: str = "workers"
    from_start: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(
        "requests",
        "counter",
        "Requests answered, by what was asked and what came of it.",
        labels=("request", "outcome"),
        from_start=("sign/ok", "sign/sign_timeout"),
    ),
    Metric("signatures", "counter", "Signatures made, by the store of the key.", labels=("store",)),
    Metric(
        "store_requests",
        "counter",
        "Signatures asked of each store, by what came of it: ok, or the word for why there is none.",
        labels=("store", "outcome"),
    ),
    Metric(
        "store_sign",
        "histogram",
        "From the moment a request was whole to the moment its signature was made, by store.",
        unit="seconds",
        labels=("store",),
    ),
    Metric(
        "policy_decisions",
        "counter",
        "Decisions of the signing policy, by the rule that made them and the word for why.",
        labels=("rule", "reason"),
    ),
    Metric(
        "confirmations",
        "counter",
        "Questions to people, by what came of them.",
        labels=("outcome",),
    ),
    Metric("connections_accepted", "counter", "Connections that were let in."),
    Metric(
        "connections_rejected",
        "counter",
        "Connections that were not let in, by the reason.",
        labels=("reason",),
        from_start=("max_connections", "peer_not_admitted", "peer_unknown"),
    ),
    Metric("floods", "counter", "Connections closed because their half messages filled memory."),
    Metric("connections", "gauge", "Connections open now.", per_process=True),
    Metric("connections_most", "gauge", "Most connections at a time over all workers."),
    Metric("signing_queue", "gauge", "Requests that wait for their turn to sign."),
    Metric("signing", "gauge", "Signatures that threads make now."),
    Metric("kept", "gauge", "Memory that waiting requests hold.", unit="bytes"),
    Metric(
        "queue_wait",
        "histogram",
        "From the moment a request was whole to the moment its signing began, over every queue.",
        unit="seconds",
    ),
    Metric(
        "sign",
        "histogram",
        "From the moment a request was whole to the moment its signature was made.",
        unit="seconds",
    ),
    Metric(
        "process_resident",
        "gauge",
        "Memory of each process.",
        unit="bytes",
        per_process=True,
        source="every process",
    ),
    Metric(
        "process_descriptors",
        "gauge",
        "Open descriptors of each process.",
        per_process=True,
        source="every process",
    ),
    Metric(
        "process_cpu",
        "counter",
        "Processor time of each process.",
        unit="seconds",
        per_process=True,
        source="every process",
    ),
    Metric(
        "workers_lost", "counter", "Workers that ended and were replaced.", source="the supervisor"
    ),
    Metric(
        "reloads",
        "counter",
        "Reloads, by outcome.",
        labels=("outcome",),
        source="the supervisor",
        from_start=("ok", "rejected"),
    ),
    Metric(
        "store_keys", "gauge", "Keys of each store.", labels=("store",), source="the supervisor"
    ),
    Metric(
        "store_well",
        "gauge",
        "Whether a store works: 1, or 0.",
        labels=("store",),
        source="the supervisor",
    ),
    Metric(
        "memory_locked",
        "gauge",
        "Whether the memory of processes that hold keys is kept out of swap: 1, or 0.",
        source="the supervisor",
    ),
    Metric("keys", "gauge", "Keys that are served.", source="the supervisor"),
    Metric("generation", "gauge", "Number of the state that is served.", source="the supervisor"),
    Metric(
        "audit_records",
        "counter",
        "Records in the audit log since the start; 0 without one.",
        source="the supervisor",
    ),
    Metric(
        "audit_dropped",
        "counter",
        "Audit records that were dropped because the log could not be written.",
        source="the supervisor",
    ),
    Metric(
        "audit_failures",
        "counter",
        "Writes of the audit log that failed.",
        source="the supervisor",
    ),
    Metric(
        "audit_stuck",
        "gauge",
        "Whether the audit log cannot be written now: 1, or 0.",
        source="the supervisor",
    ),
    Metric(
        "snapshot_failures",
        "counter",
        "Snapshots that could not be written.",
        source="the reporter",
    ),
    Metric(
        "series_overflow",
        "counter",
        "Counts that found no room for a series of their own.",
        source="every process",
    ),
)
"""The table; docs/metrics.md is made from it."""

BOUNDS_NS: tuple[int, ...] = (
    *(500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000),
    *(1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000, 32_000_000, 64_000_000),
    *(128_000_000, 256_000_000, 512_000_000, 1_000_000_000, 2_000_000_000, 4_000_000_000),
    8_000_000_000,
)
"""Upper bounds of the histograms as they are published; the cells are finer."""
