"""The metrics as one JSON document, under the names that earlier tools read.

Rule for editors: keys are added, never renamed; what a window does not have is 0 or null, so that a
reader finds every key in every snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secretivex.metrics.buckets import percentile, regroup
from secretivex.metrics.cells import Histogram, Series, Totals
from secretivex.metrics.per_store import read_stores
from secretivex.metrics.table import BOUNDS_NS, METRICS

SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}

_GAUGES = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a snapshot is of beside its figures; times in ms since 1970."""

    kind: str
    captured_unix_ms: int
    started_unix_ms: int
    max_signers: int
    max_connections: int
    suggested: Mapping[str, Any] | None = None
    processes: Sequence[tuple[str, int]] = field(default=())
    """Names and numbers of the agent's processes, in the order of the parts."""


def window(now: Totals, before: Totals) -> Totals:
    """What was counted since `before`; gauges as they are now."""
    series: dict[Series, int] = {}
    for key, value in now.series.items():
        series[key] = value if key[0] in _GAUGES else value - before.series.get(key, 0)
    histograms = {
        name: histogram.since(before.histograms[name]) for name, histogram in now.histograms.items()
    }
    return Totals(series, histograms, now.parts)


def make_snapshot(totals: Totals, moment: Moment) -> dict[str, Any]:
    """The document; `totals` may be of a window."""
    requests = {tuple(label.split("/", 1)): n for label, n in totals.labels("requests")}
    signs = {outcome: n for (request, outcome), n in requests.items() if request == "sign"}
    lists = {outcome: n for (request, outcome), n in requests.items() if request == "list"}
    wait, sign = totals.histograms["queue_wait"], totals.histograms["sign"]
    connections = totals.value("connections")
    return {
        "kind": moment.kind,
        "captured_unix_ms": moment.captured_unix_ms,
        "started_unix_ms": moment.started_unix_ms,
        "count": signs.get("ok", 0),
        "errors": sum(signs.values()) - signs.get("ok", 0),
        "timeouts": signs.get("sign_timeout", 0),
        "avg_ns": _mean(sign),
        "queue_wait_avg_ns": _mean(wait),
        "queue_wait_max_ns": wait.max_ns,
        "in_flight": totals.value("signing") + totals.value("signing_queue"),
        "max_signers": moment.max_signers,
        "connections": totals.value("connections_accepted"),
        "active_connections": connections,
        "max_active_connections": max(totals.value("connections_most"), connections),
        "max_connections": moment.max_connections,
        "connection_rejected": sum(n for _, n in totals.labels("connections_rejected")),
        **_lists(lists, totals),
        **_store_kinds(totals),
        "stores": _stores(totals),
        **_confirmations(totals),
        "queue_wait_histogram": list(regroup(wait.counts, BOUNDS_NS)),
        "queue_wait_percentiles": {name: _percentile(wait, at) for name, at in SHARES.items()},
        "queue_wait_suggested": moment.suggested,
        "sign_percentiles": {name: _percentile(sign, at) for name, at in SHARES.items()},
        "outcomes": {f"{request}.{outcome}": n for (request, outcome), n in requests.items()},
        "rules": dict(totals.labels("policy_decisions")),
        "processes": _processes(totals, moment.processes),
    }


def _lists(lists: Mapping[Any, int], totals: Totals) -> dict[str, int]:
    count = sum(lists.values())
    return {
        "list_count": count,
        # A list is always answered from the encoding made when the keys last changed.
        "list_hit": count,
        "list_stale": 0,
        "list_refresh": totals.value("generation"),
        "list_errors": count - lists.get("ok", 0) - lists.get("locked", 0),
    }


def _mean(histogram: Histogram) -> int:
    return histogram.sum_ns // histogram.count if histogram.count else 0


def _percentile(histogram: Histogram, share: float) -> dict[str, Any] | None:
    found = percentile(histogram.counts, share)
    return None if found is None else {"ns": found, "open_ended": found > BOUNDS_NS[-1]}


_STORE_KINDS = ("file", "pkcs11", "secure_enclave")


def _stores(totals: Totals) -> dict[str, Any]:
    """Each store by its name; percentiles are bounds of the histogram, null beyond the last."""
    return {
        store: {
            "outcomes": figures.outcomes,
            "avg_ns": figures.sum_ns // max(1, sum(figures.counts)),
            "percentiles_ns": {name: _bound(figures.counts, at) for name, at in SHARES.items()},
        }
        for store, figures in read_stores(totals).items()
    }


def _bound(counts: Sequence[int], share: float) -> int | None:
    """The least bound that `share` of all did not exceed."""
    wanted, seen = sum(counts) * share, 0
    for bound, count in zip(BOUNDS_NS, counts, strict=False):
        seen += count
        if seen and seen >= wanted:
            return bound
    return None


def _store_kinds(totals: Totals) -> dict[str, int]:
    """By the kind of store: `file` and `file-2` are of one."""
    counts = {f"store_sign_{kind}": 0 for kind in (*_STORE_KINDS, "other")}
    for store, count in totals.labels("signatures"):
        kind = store.partition("-")[0]
        counts[f"store_sign_{kind if kind in _STORE_KINDS else 'other'}"] += count
    return counts


_CONFIRM_WORDS = {
    "allowed": "allow",
    "cached": "cache_hit",
    "confirm_denied": "denied",
    "confirm_timeout": "timeout",
    "client_gone": "gone",
    "cut_off": "gone",
}


def _confirmations(totals: Totals) -> dict[str, int]:
    counts = {
        f"confirm_{word}": 0
        for word in ("allow", "cache_hit", "denied", "timeout", "error", "gone")
    }
    for outcome, count in totals.labels("confirmations"):
        counts[f"confirm_{_CONFIRM_WORDS.get(outcome, 'error')}"] += count
    return counts


def _processes(totals: Totals, processes: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    rows = []
    for (name, pid), part in zip(processes, totals.parts, strict=False):
        resident = part.series.get(("process_resident", ""))
        if resident is not None:
            descriptors = part.series.get(("process_descriptors", ""), 0)
            connections = part.series.get(("connections", ""), 0)
            cpu_ms = part.series.get(("process_cpu", ""), 0)
            row = {"name": name, "pid": pid, "rss_bytes": resident, "fds": descriptors}
            rows.append({**row, "connections": connections, "cpu_ms": cpu_ms})
    return rows
