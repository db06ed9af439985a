"""Figures of each store: by its name, by what came of requests, by how long signatures took."""

from __future__ import annotations

from secretivex.metrics.cells import Cells
from secretivex.metrics.openmetrics import OPENMETRICS, render_text
from secretivex.metrics.per_store import StoreMeter, read_stores
from secretivex.metrics.snapshot import Moment, make_snapshot, window
from secretivex.metrics.table import BOUNDS_NS

MOMENT = Moment("snapshot", 2, 1, 4, 0)


def counted() -> Cells:
    """Two workers that met two stores."""
    cells = Cells(2)
    for number in range(2):
        meter = StoreMeter(cells.meter(number))
        for duration_ns in (400, 1_000, 3_000_000):
            meter.note_made("file", [duration_ns])
        meter.note("pkcs11-2", "token_timeout")
    return cells


def test_sums_are_over_workers_and_failures_have_no_duration() -> None:
    stores = read_stores(counted().totals())
    assert stores.keys() == {"file", "pkcs11-2"}
    assert stores["file"].outcomes == {"ok": 6}
    assert stores["pkcs11-2"].outcomes == {"token_timeout": 2}
    assert (sum(stores["file"].counts), stores["file"].sum_ns) == (6, 2 * 3_001_400)
    assert sum(stores["pkcs11-2"].counts) == 0


def test_a_worker_that_takes_another_s_place_counts_on() -> None:
    cells = counted()
    StoreMeter(cells.meter(0)).note_made("file", [400])
    assert read_stores(cells.totals())["file"].outcomes == {"ok": 7}


def test_what_exceeds_every_bound_is_counted_and_has_no_percentile() -> None:
    cells = Cells(1)
    StoreMeter(cells.meter(0)).note_made("slow", [BOUNDS_NS[-1] + 1])
    assert read_stores(cells.totals())["slow"].counts[-1] == 1
    found = make_snapshot(cells.totals(), MOMENT)["stores"]["slow"]
    assert found["percentiles_ns"] == dict.fromkeys(("p50", "p90", "p95", "p99"))


def test_a_snapshot_and_the_text_tell_the_same() -> None:
    totals = counted().totals()
    file = make_snapshot(totals, MOMENT)["stores"]["file"]
    assert file["outcomes"] == {"ok": 6}
    assert file["avg_ns"] == 3_001_400 // 3
    assert (file["percentiles_ns"]["p50"], file["percentiles_ns"]["p99"]) == (1_000, 4_000_000)
    text = render_text(totals, ("worker-0", "worker-1"), OPENMETRICS)
    assert 'secretivex_store_sign_seconds_bucket{store="file",le="5e-07"} 2' in text
    assert 'secretivex_store_sign_seconds_bucket{store="file",le="+Inf"} 6' in text
    assert 'secretivex_store_requests_total{store="pkcs11-2",outcome="token_timeout"} 2' in text


def test_a_new_window_begins_at_nothing() -> None:
    totals = counted().totals()
    stores = make_snapshot(window(totals, totals), MOMENT)["stores"]
    assert stores["file"]["outcomes"] == {"ok": 0}
    assert stores["file"]["percentiles_ns"]["p50"] is None
