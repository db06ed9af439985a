"""The renderings of metrics, judged by a parser that is not ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from secretivex.metrics.cells import Cells, Totals
from secretivex.metrics.openmetrics import OPENMETRICS, PLAIN, render_text
from secretivex.metrics.queue_wait import PROFILE_TAILS, suggest_tail
from secretivex.metrics.snapshot import Moment, make_snapshot, window
from secretivex.metrics.table import METRICS, PREFIX

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = ("worker-0", "worker-1", "supervisor", "reporter")

SURVEYED = [
    "kind",
    "captured_unix_ms",
    "started_unix_ms",
    "count",
    "errors",
    "timeouts",
    "avg_ns",
    "queue_wait_avg_ns",
    "queue_wait_max_ns",
    "in_flight",
    "max_signers",
    "connections",
    "active_connections",
    "max_active_connections",
    "max_connections",
    "connection_rejected",
    "list_count",
    "list_hit",
    "list_stale",
    "list_refresh",
    "list_errors",
    "store_sign_file",
    "store_sign_pkcs11",
    "store_sign_secure_enclave",
    "store_sign_other",
    "confirm_allow",
    "confirm_cache_hit",
    "confirm_denied",
    "confirm_timeout",
    "confirm_error",
    "queue_wait_histogram",
    "queue_wait_percentiles",
    "queue_wait_suggested",
]


@pytest.fixture
def totals() -> Totals:
    cells = Cells(4)
    for process in (0, 1):
        meter = cells.meter(process)
        meter.count("requests", "sign/ok", 10)
        meter.count("requests", "sign/sign_timeout", 2)
        meter.count("requests", "list/ok", 5)
        meter.count("signatures", "file", 6)
        meter.count("signatures", "file-2", 3)
        meter.count("signatures", "memory", 1)
        meter.count("confirmations", "allowed", 1)
        meter.count("confirmations", "askpass_failed", 1)
        meter.count("connections_accepted", amount=7)
        meter.count("connections_rejected", "max_connections", 4)
        meter.put(meter.place("connections"), 3)
        meter.put(meter.place("connections_most"), 9)
        meter.put(meter.place("process_resident"), 1_000_000)
        meter.put(meter.place("process_cpu"), 1500)
        for wait_ms in range(1, 11):
            meter.observe(0, wait_ms * 1_000_000)
            meter.observe(1, wait_ms * 1_100_000)
    return cells.totals()


def moment() -> Moment:
    tail = suggest_tail("pssh", max_signers=128, workers=2, max_connections=32_768)
    pids = [(name, 100 + number) for number, name in enumerate(PROCESSES)]
    return Moment("snapshot", 5000, 1000, 8, 1024, tail.to_json(), pids)


def test_a_snapshot_has_every_surveyed_name_and_true_figures(totals: Totals) -> None:
    snapshot = make_snapshot(totals, moment())
    assert [name for name in SURVEYED if name not in snapshot] == []
    assert json.loads(json.dumps(snapshot)) == snapshot
    expected = {
        "count": 20,
        "errors": 4,
        "timeouts": 4,
        "store_sign_file": 18,
        "store_sign_other": 2,
        "confirm_allow": 2,
        "confirm_error": 2,
        "connections": 14,
        "active_connections": 6,
        "max_active_connections": 9,
        "connection_rejected": 8,
        "list_count": 10,
        "list_errors": 0,
        "queue_wait_max_ns": 10_000_000,
        "queue_wait_avg_ns": 5_500_000,
    }
    assert {name: snapshot[name] for name in expected} == expected
    assert len(snapshot["queue_wait_histogram"]) == 26
    assert sum(snapshot["queue_wait_histogram"]) == 20
    p50 = snapshot["queue_wait_percentiles"]["p50"]
    assert abs(p50["ns"] - 5_000_000) < 400_000
    assert not p50["open_ended"]
    assert snapshot["processes"][0]["pid"] == 100


def test_nothing_counted_is_a_whole_snapshot_too() -> None:
    snapshot = make_snapshot(Totals(), moment())
    assert [name for name in SURVEYED if name not in snapshot] == []
    assert snapshot["queue_wait_percentiles"]["p99"] is None


def test_a_window_counts_from_its_beginning_and_shows_gauges_as_they_are(totals: Totals) -> None:
    snapshot = make_snapshot(window(totals, totals), moment())
    assert (snapshot["count"], snapshot["avg_ns"], snapshot["active_connections"]) == (0, 0, 6)


def test_the_text_is_openmetrics_and_has_every_metric(totals: Totals) -> None:
    families = {
        family.name: family
        for family in text_string_to_metric_families(render_text(totals, PROCESSES, OPENMETRICS))
    }
    for metric in METRICS:
        name = PREFIX + metric.name + (f"_{metric.unit}" if metric.unit else "")
        assert families.pop(name).type == metric.kind
    assert families == {}


def test_the_text_has_the_figures(totals: Totals) -> None:
    text = render_text(totals, PROCESSES, OPENMETRICS)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["secretivex_requests_total", "ok", "sign"] == 20
    assert samples["secretivex_connections", "worker-1"] == 3
    assert samples["secretivex_process_cpu_seconds_total", "worker-0"] == 1.5
    assert samples["secretivex_queue_wait_seconds_count",] == 20
    assert samples["secretivex_queue_wait_seconds_bucket", "+Inf"] == 20
    assert samples["secretivex_connections_most",] == 9


def test_the_older_form_has_the_same_figures(totals: Totals) -> None:
    newer = text_string_to_metric_families(render_text(totals, PROCESSES, OPENMETRICS))
    older = list(parse_plain(render_text(totals, PROCESSES, PLAIN)))
    kinds = {PREFIX + metric.name: metric.kind for metric in METRICS if not metric.unit}
    assert {family.name: family.type for family in older if family.name in kinds} == kinds
    assert all(family.documentation for family in older)

    def samples(families: Iterable[Metric]) -> set[tuple[str, str, float]]:
        return {
            (sample.name, str(sorted(sample.labels.items())), sample.value)
            for family in families
            for sample in family.samples
        }

    assert samples(older) == samples(newer)


@given(st.text())
def test_whatever_a_label_holds_the_text_stays_well_formed(label: str) -> None:
    totals = Totals(series={("signatures", label): 1})
    families = text_string_to_metric_families(render_text(totals, (), OPENMETRICS))
    (sample,) = (
        s for f in families for s in f.samples if s.name.startswith("secretivex_signatures")
    )
    assert sample.labels["store"] == label


def test_the_suggested_wait_is_the_surveyed_one() -> None:
    pssh = suggest_tail("pssh", max_signers=96, workers=8, max_connections=32_768)
    assert (pssh.ns, pssh.ratio) == (4_000_000, 0.033)
    gate = suggest_tail("pssh", max_signers=128, workers=2, max_connections=32_768)
    assert (round(gate.ns / 1e6, 1), gate.ratio) == (6.1, 0.053)
    assert suggest_tail(None, max_signers=4, workers=1, max_connections=0).is_inferred
    assert set(PROFILE_TAILS) == {"pssh", "fanout", "balanced", "low-memory"}


def test_the_page_has_every_metric() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"^\| `(secretivex_\w+)` \|", page, re.MULTILINE))
    names = {
        PREFIX + metric.name + (f"_{metric.unit}" if metric.unit else "") for metric in METRICS
    }
    assert told == names
    snapshot = make_snapshot(Totals(), moment())
    assert [name for name in snapshot if f"`{name}`" not in page] == []
