"""Figures in shared memory: buckets that are close enough, parts that outlive their processes."""

from __future__ import annotations

import itertools
import os
import random
from bisect import bisect_left
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from secretivex.metrics.buckets import (
    BUCKETS,
    MAX_NS,
    bounds_of,
    bucket_of,
    middle_of,
    percentile,
    regroup,
)
from secretivex.metrics.cells import MAX_SERIES, OVERFLOW, Cells
from secretivex.metrics.per_store import StoreMeter, read_stores
from secretivex.metrics.table import BOUNDS_NS
from secretivex.policy import Decision
from secretivex.server.report.tally import MAX_RULE_BYTES, Tally


@given(st.integers(0, MAX_NS))
def test_a_duration_lies_in_its_bucket_and_its_middle_is_near(duration_ns: int) -> None:
    bucket = bucket_of(duration_ns)
    low, high = bounds_of(bucket)
    assert 0 <= bucket < BUCKETS
    assert low <= duration_ns <= high
    assert abs(middle_of(bucket) - duration_ns) <= duration_ns / 16


def test_buckets_follow_one_another_without_a_gap() -> None:
    bounds = [bounds_of(bucket) for bucket in range(BUCKETS)]
    assert bounds[0] == (0, 0)
    assert all(low == before + 1 for (_, before), (low, _) in itertools.pairwise(bounds))
    assert bounds[-1][1] == MAX_NS
    assert bucket_of(MAX_NS * 9) == BUCKETS - 1
    assert bucket_of(-5) == 0


def test_percentiles_are_those_of_the_samples() -> None:
    chance = random.Random(1)
    samples = sorted(int(chance.lognormvariate(13, 2)) for _ in range(5000))
    counts = [0] * BUCKETS
    for sample in samples:
        counts[bucket_of(sample)] += 1
    for share in (0.5, 0.9, 0.99, 1.0):
        exact = samples[max(0, int(share * len(samples)) - 1)]
        found = percentile(counts, share)
        assert found is not None
        assert abs(found - exact) <= exact * 0.07
    assert percentile([0] * BUCKETS, 0.5) is None


def test_regrouping_loses_no_sample() -> None:
    counts = [1] * BUCKETS
    groups = regroup(counts, (1000, 10**6, 10**9))
    assert sum(groups) == BUCKETS
    assert groups[0] == sum(middle_of(bucket) <= 1000 for bucket in range(BUCKETS))


def test_sums_are_over_processes_and_outlive_them() -> None:
    cells = Cells(3)
    for process in (0, 1):
        pid = os.fork()
        if pid == 0:
            meter = cells.meter(process)
            meter.count("signatures", "ok", 5)
            meter.observe(0, 1_000_000 * (process + 1))
            os._exit(0)
        os.waitpid(pid, 0)
    after = cells.meter(1)
    after.count("signatures", "ok")
    after.count("refusals", "a word with spaces")
    totals = cells.totals()
    assert totals.value("signatures", "ok") == 11
    assert list(totals.labels("refusals")) == [("a word with spaces", 1)]
    assert totals.parts[0].series == {("signatures", "ok"): 5}
    wait = totals.histograms["queue_wait"]
    assert (wait.count, wait.sum_ns, wait.max_ns) == (2, 3_000_000, 2_000_000)


def test_what_a_dead_process_was_doing_is_cleared_and_what_it_did_stays() -> None:
    cells = Cells(1)
    meter = cells.meter(0)
    meter.count("connections_total", amount=7)
    meter.put(meter.place("connections"), 4)
    cells.meter(0).clear("connections")
    assert cells.totals().series == {("connections_total", ""): 7, ("connections", ""): 0}


def test_more_names_than_there_is_room_for_are_counted_together() -> None:
    cells = Cells(1)
    meter = cells.meter(0)
    for number in range(MAX_SERIES + 50):
        meter.count("rule", str(number))
    totals = cells.totals()
    assert len(totals.series) == MAX_SERIES
    assert totals.value(*OVERFLOW) == 51


def test_a_name_that_is_too_long_is_cut() -> None:
    cells = Cells(1)
    for _ in range(2):
        cells.meter(0).count("rule", "\N{EURO SIGN}" * 500)
    ((name, count),) = cells.totals().series.items()
    assert name[0] == "rule"
    assert set(name[1]) == {"\N{EURO SIGN}"}
    assert count == 2


def test_what_came_since_is_the_difference() -> None:
    cells = Cells(1)
    meter = cells.meter(0)
    meter.observe(0, 500)
    before = cells.totals().histograms["queue_wait"]
    meter.observe(0, 900)
    since = cells.totals().histograms["queue_wait"].since(before)
    assert (since.count, since.sum_ns) == (1, 900)


def test_a_batch_counts_as_its_durations_would_one_by_one() -> None:
    durations_ns = (0, 31_000, 500_000, 500_100, 500_000, 2 * 10**9, -1_000_000, 2**41, 2**42)
    single, batch = Cells(1), Cells(1)
    for duration_ns in durations_ns:
        single.meter(0).observe(1, duration_ns)
    batch.meter(0).observe_all(1, durations_ns)
    batch.meter(0).observe_all(1, ())
    assert batch.totals() == single.totals()


def test_a_batch_of_signatures_counts_for_its_stores_as_one_by_one() -> None:
    durations_ns = [100_000, 200_000_000, 100_100, -5, BOUNDS_NS[3], BOUNDS_NS[-1] + 1, 100_000]
    single, batch = Cells(1), Cells(1)
    for duration_ns in durations_ns:
        StoreMeter(single.meter(0)).note_made("file", [duration_ns])
    StoreMeter(batch.meter(0)).note_made("file", durations_ns)
    (figures,) = read_stores(batch.totals()).values()
    assert figures == read_stores(single.totals())["file"]
    assert figures.counts == [
        sum(bisect_left(BOUNDS_NS, ns) == bound for ns in durations_ns)
        for bound in range(len(BOUNDS_NS) + 1)
    ]


def test_rules_leave_room_for_what_else_is_counted() -> None:
    cells = Cells(1)
    meter = cells.meter(0)
    for number in range(10_000):
        meter.count("policy_decisions", f"rule {number}/denied")
    meter.count("requests", "sign/policy_denied", 10_000)
    totals = cells.totals()
    told = sum(count for _, count in totals.labels("policy_decisions"))
    assert told == MAX_SERIES // 2
    assert told + totals.value(*OVERFLOW) == 10_000
    assert totals.value("requests", "sign/policy_denied") == 10_000


def test_a_rule_with_a_long_name_keeps_the_word_for_why() -> None:
    cells = Cells(1)
    names = iter(["x" * 200, "x" * 200, "é" * 100, "a/b", ""])
    reasons = iter(["denied", "no_allow_matches", "denied", "denied", "no_deny_matches"])
    tally = Tally(cells.meter(0))
    decide = tally.watch(lambda _query: Decision(False, next(names), next(reasons)))
    query: Any = None
    for _ in range(5):
        decide(query)
    assert dict(cells.totals().labels("policy_decisions")) == {
        "x" * MAX_RULE_BYTES + "/denied": 1,
        "x" * MAX_RULE_BYTES + "/no_allow_matches": 1,
        "é" * (MAX_RULE_BYTES // 2) + "/denied": 1,
        "a|b/denied": 1,
        "none/no_deny_matches": 1,
    }
