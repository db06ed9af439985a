"""The metrics as text that Prometheus reads: OpenMetrics 1.0, or the exposition format before it.

The older form (text/plain, version 0.0.4) is what node_exporter's textfile collector and clients
that name nothing newer read: there a counter's whole name has its type, and no unit is told. Rule
for editors: whatever a label holds, the text stays well-formed; parsers that are not ours judge both
forms in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secretivex.metrics.buckets import regroup
from secretivex.metrics.cells import Totals
from secretivex.metrics.per_store import read_stores
from secretivex.metrics.table import BOUNDS_NS, METRICS, PREFIX, Metric

_DIVISORS = {"process_cpu": 1000}
"""Cells hold whole numbers: processor time in ms."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """One form of the text; `is_open` for OpenMetrics."""

    content_type: str
    is_open: bool


OPENMETRICS = TextForm("application/openmetrics-text; version=1.0.0; charset=utf-8", is_open=True)
PLAIN = TextForm("text/plain; version=0.0.4; charset=utf-8", is_open=False)


def render_text(totals: Totals, processes: Sequence[str], form: TextForm) -> str:
    """Every metric, those without a series too; `processes` names the parts of the cells."""
    lines: list[str] = []
    for metric in METRICS:
        lines += _render_head(metric, form)
        lines += _render(metric, totals, processes)
    return "\n".join([*lines, *(["# EOF"] if form.is_open else []), ""])


def _name_of(metric: Metric) -> str:
    return PREFIX + metric.name + (f"_{metric.unit}" if metric.unit else "")


def _suffix_of(metric: Metric) -> str:
    return "_total" if metric.kind == "counter" else ""


def _render_head(metric: Metric, form: TextForm) -> Iterator[str]:
    name = _name_of(metric) + ("" if form.is_open else _suffix_of(metric))
    yield f"# TYPE {name} {metric.kind}"
    if metric.unit and form.is_open:
        yield f"# UNIT {name} {metric.unit}"
    yield f"# HELP {name} {metric.help}"


def _render(metric: Metric, totals: Totals, processes: Sequence[str]) -> Iterator[str]:
    name = _name_of(metric)
    if metric.kind == "histogram":
        yield from _render_histograms(metric, totals)
        return
    divisor = _DIVISORS.get(metric.name, 1)
    for labels, value in _samples(metric, totals, processes):
        shown = value if divisor == 1 else value / divisor
        yield f"{name}{_suffix_of(metric)}{_encode_labels(labels)} {shown}"


def _render_histograms(metric: Metric, totals: Totals) -> Iterator[str]:
    name = _name_of(metric)
    if metric.labels:
        for store, figures in read_stores(totals).items():
            labels = {metric.labels[0]: store}
            yield from _render_histogram(name, figures.counts, figures.sum_ns, labels)
        return
    histogram = totals.histograms[metric.name]
    groups = regroup(histogram.counts, BOUNDS_NS)
    yield from _render_histogram(name, groups, histogram.sum_ns, {})


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
