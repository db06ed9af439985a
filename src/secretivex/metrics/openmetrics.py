"""The metrics as OpenMetrics 1.0 text, which Prometheus reads.

Rule for editors: whatever a label holds, the text stays well-formed; a parser that is not ours
judges it in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secretivex.metrics.buckets import regroup
from secretivex.metrics.cells import Totals
from secretivex.metrics.per_store import read_stores
from secretivex.metrics.table import BOUNDS_NS, METRICS, PREFIX, Metric

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_DIVISORS = {"process_cpu": 1000}
"""Cells hold whole numbers: processor time in ms."""


def render_openmetrics(totals: Totals, processes: Sequence[str]) -> str:
    """Every metric, those without a series too; `processes` names the parts of the cells."""
    lines: list[str] = []
    for metric in METRICS:
        lines += _render(metric, totals, processes)
    return "\n".join([*lines, "# EOF", ""])


def _render(metric: Metric, totals: Totals, processes: Sequence[str]) -> Iterator[str]:
    name = PREFIX + metric.name + (f"_{metric.unit}" if metric.unit else "")
    yield f"# TYPE {name} {metric.kind}"
    if metric.unit:
        yield f"# UNIT {name} {metric.unit}"
    yield f"# HELP {name} {metric.help}"
    if metric.kind == "histogram":
        if metric.labels:
            for store, figures in read_stores(totals).items():
                labels = {metric.labels[0]: store}
                yield from _render_histogram(name, figures.counts, figures.sum_ns, labels)
            return
        histogram = totals.histograms[metric.name]
        groups = regroup(histogram.counts, BOUNDS_NS)
        yield from _render_histogram(name, groups, histogram.sum_ns, {})
        return
    suffix = "_total" if metric.kind == "counter" else ""
    divisor = _DIVISORS.get(metric.name, 1)
    for labels, value in _samples(metric, totals, processes):
        shown = value if divisor == 1 else value / divisor
        yield f"{name}{suffix}{_encode_labels(labels)} {shown}"


def _samples(
    metric: Metric, totals: Totals, processes: Sequence[str]
) -> Iterator[tuple[dict[str, str], int]]:
    if metric.per_process:
        for process, part in zip(processes, totals.parts, strict=True):
            value = part.series.get((metric.name, ""))
            if value is not None:
                yield {"process": process}, value
        return
    if not metric.labels:
        yield {}, totals.value(metric.name)
        return
    counted = {**dict.fromkeys(metric.from_start, 0), **dict(totals.labels(metric.name))}
    for label, value in sorted(counted.items()):
        words = label.split("/", len(metric.labels) - 1)
        words += [""] * (len(metric.labels) - len(words))
        yield dict(zip(metric.labels, words, strict=True)), value


def _render_histogram(
    name: str, groups: Sequence[int], sum_ns: int, labels: dict[str, str]
) -> Iterator[str]:
    seen = 0
    for bound, count in zip((*(ns / 1e9 for ns in BOUNDS_NS), "+Inf"), groups, strict=True):
        seen += count
        yield f"{name}_bucket{_encode_labels({**labels, 'le': str(bound)})} {seen}"
    yield f"{name}_count{_encode_labels(labels)} {seen}"
    yield f"{name}_sum{_encode_labels(labels)} {sum_ns / 1e9}"


def _encode_labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
