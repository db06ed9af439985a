"""The figures of a run: one row each, from which JSON, CSV and their documentation are made.

Rule for editors: a name is a promise; a change of meaning is a new name and a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secretivex.bench.report.machine import describe_machine
from secretivex.bench.run import Outcome
from secretivex.bench.tally import FAILURE_KINDS

SCHEMA_VERSION = 1
PERCENTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_PLACES = 6


@dataclass(frozen=True, slots=True)
class Field:
    """One figure."""

    name: str
    kind: str
    meaning: str
    read: Callable[[Outcome], Any]


FIELDS: tuple[Field, ...] = (
    Field("schema_version", "number", "version of this list", lambda _: SCHEMA_VERSION),
    Field("started_unix_ms", "number", "start of the warm-up", lambda o: o.started_unix_ms),
    Field("finished_unix_ms", "number", "end of the run", lambda o: o.finished_unix_ms),
    Field("socket_path", "text", "the agent's socket", lambda o: o.scenario.address),
    Field("mode", "text", "`sign` or `list`", lambda o: o.scenario.mode),
    Field("loop", "text", "`closed`, or `open` at a fixed rate", lambda o: o.scenario.loop),
    Field("reconnect", "boolean", "a connection for each request", lambda o: o.scenario.reconnect),
    Field("clients", "number", "connections at a time", lambda o: o.scenario.clients),
    Field("processes", "number", "of the load tool", lambda o: o.scenario.processes),
    Field("rate_per_s", "number", "of the open loop, else 0", lambda o: o.scenario.rate_per_s),
    Field("ramp_s", "number", "over which the clients began", lambda o: o.scenario.ramp_s),
    Field("warmup_s", "number", "before the window; not counted", lambda o: o.scenario.warmup_s),
    Field(
        "requested", "number", "requests asked for by --count, else 0", lambda o: o.scenario.count
    ),
    Field("window_s", "number", "length of what was measured", lambda o: _round(o.window_s)),
    Field("payload_bytes", "number", "size of the signed data", lambda o: o.scenario.payload_bytes),
    Field("flags", "number", "of the sign requests", lambda o: o.scenario.flags),
    Field(
        "connect_timeout_ms",
        "number",
        "after which a connect failed",
        lambda o: round(o.scenario.connect_timeout_s * 1000),
    ),
    Field(
        "response_timeout_ms",
        "number",
        "after which an answer failed to come",
        lambda o: round(o.scenario.response_timeout_s * 1000),
    ),
    Field("ok", "number", "requests with a latency", lambda o: o.tally.latency.total),
    Field("failed", "number", "requests that failed, of every kind", lambda o: o.failed),
    Field("failure_rate", "number", "failed / (ok + failed)", lambda o: _round(o.failure_rate)),
    Field("completed", "number", "answers within the window", lambda o: o.tally.completed),
    Field("throughput_per_s", "number", "completed / window", lambda o: _round(o.throughput_per_s)),
    Field("verified", "number", "replies of the sample that verified", lambda o: o.tally.verified),
    Field(
        "tool_busy_share",
        "number",
        "of the window that the busiest load process computed",
        lambda o: _round(o.tally.busy_share),
    ),
    Field(
        "tool_ceiling_per_s",
        "number",
        "throughput at which that process would never have slept",
        lambda o: _round(o.ceiling_per_s),
    ),
)
"""Of the run as a whole."""

GROUPS = {
    "failures": "requests that failed, by kind: " + ", ".join(FAILURE_KINDS),
    "latency_us": "of every request of the window, in microseconds: min, mean, "
    + ", ".join(PERCENTS)
    + ", max",
    "machine": "hostname, system, machine, cores, python, version, openssh",
    "slices": "the run in slices of `slice_s` seconds: start_s, completed, failed, p50_us, p99_us",
}
"""Members of the JSON that are not single figures."""


def encode_run(outcome: Outcome) -> dict[str, Any]:
    """The JSON of a run."""
    return {
        **{field.name: field.read(outcome) for field in FIELDS},
        "failures": encode_failures(outcome),
        "latency_us": encode_latency(outcome),
        "machine": describe_machine(),
        "slice_s": outcome.scenario.interval_s,
        "slices": _slices(outcome),
    }


def encode_failures(outcome: Outcome) -> dict[str, int]:
    """How many failed in each way."""
    failures = outcome.tally.failures
    return {kind: failures[kind] for kind in FAILURE_KINDS}


def encode_latency(outcome: Outcome) -> dict[str, float]:
    """The distribution."""
    latency = outcome.tally.latency
    percentiles = {name: latency.percentile(share) / 1000 for name, share in PERCENTS.items()}
    ends = {"min": latency.min_ns / 1000, "mean": _round(latency.mean_ns / 1000)}
    return {**ends, **percentiles, "max": latency.max_ns / 1000}


def _slices(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "start_s": _round(index * outcome.scenario.interval_s),
            "completed": one.completed,
            "failed": one.failures.total(),
            "p50_us": one.latency.percentile(50) / 1000,
            "p99_us": one.latency.percentile(99) / 1000,
        }
        for index, one in sorted(outcome.tally.slices.items())
    ]


def _round(value: float) -> float:
    return round(value, _PLACES)
