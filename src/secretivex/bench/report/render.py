"""A run as text for people and as CSV for tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from secretivex.bench.report.fields import FIELDS, encode_failures, encode_latency
from secretivex.bench.report.machine import describe_machine
from secretivex.bench.run import Outcome


def render_text(outcome: Outcome) -> str:
    """A few lines."""
    scenario, latency = outcome.scenario, encode_latency(outcome)
    connection = "reconnecting" if scenario.reconnect else "persistent"
    pace = f"open loop at {scenario.rate_per_s:g}/s" if scenario.rate_per_s else "closed loop"
    ms = ", ".join(f"{name} {value / 1000:.3f}" for name, value in latency.items())
    failures = [f"{kind} {count}" for kind, count in encode_failures(outcome).items() if count]
    return (
        f"{scenario.mode}: {scenario.clients} {connection} clients in {scenario.processes} "
        f"processes, {pace}, {outcome.window_s:.2f} s after {scenario.warmup_s:g} s of warm-up\n"
        f"  {outcome.tally.latency.total} answers, {outcome.failed} failed "
        f"(rate {outcome.failure_rate:.6f}{''.join(f'; {one}' for one in failures)}), "
        f"{outcome.tally.verified} verified\n"
        f"  {outcome.throughput_per_s:.1f} a second; this tool could do "
        f"{outcome.ceiling_per_s:.0f} here ({outcome.tally.busy_share:.0%} used)\n"
        f"  latency in ms: {ms}\n"
    )


def render_csv(outcomes: Iterable[Outcome], *, header: bool = True) -> str:
    """A line a run, RFC 4180; columns are the fields, then failures, latencies and the machine."""
    text = io.StringIO()
    writer = csv.writer(text)
    for outcome in outcomes:
        groups: dict[str, dict[str, Any]] = {
            "failures": encode_failures(outcome),
            "latency_us": encode_latency(outcome),
            "machine": describe_machine(),
        }
        if header:
            writer.writerow(_columns(groups))
            header = False
        values = [field.read(outcome) for field in FIELDS]
        writer.writerow(
            [*values, *(value for group in groups.values() for value in group.values())]
        )
    return text.getvalue()


def _columns(groups: dict[str, dict[str, Any]]) -> Sequence[str]:
    names = [f"{group}_{name}" for group, members in groups.items() for name in members]
    return [*(field.name for field in FIELDS), *names]
