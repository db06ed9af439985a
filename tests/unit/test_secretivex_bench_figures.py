"""The arithmetic of the load tool: percentiles, ratios, trends, targets, leaks."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretivex.bench.histogram import RELATIVE_ERROR, Histogram, merge, slot_of, top_of
from secretivex.bench.report.fields import FIELDS, GROUPS, encode_run
from secretivex.bench.report.render import render_csv, render_text
from secretivex.bench.run import Outcome, check_ceiling
from secretivex.bench.scenario import Scenario, share_of
from secretivex.bench.slo import GATES, TARGET_KINDS, judge, parse_targets
from secretivex.bench.soak import Vitals, judge_latency, judge_vitals
from secretivex.bench.statistics import ratio_of, trend_of
from secretivex.bench.tally import Tally
from secretivex.errors import SecretiveError

MS = 1_000_000


def outcome_of(latencies_ms: list[float], *, refused: int = 0, busy: float = 0.1) -> Outcome:
    tally = Tally(busy_share=busy)
    for number, latency in enumerate(latencies_ms):
        one = tally.at(number // 10)
        one.latency.record(int(latency * MS))
        one.completed += 1
    tally.at(0).failures["refused"] += refused
    return Outcome(Scenario("/a", clients=7, duration_s=2.0), tally, 2.0, 1000, 3000)


@given(st.integers(0, 2**50))
def test_a_slot_holds_its_latencies_within_a_thousandth(ns: int) -> None:
    top = top_of(slot_of(ns))
    assert ns <= top <= ns * (1 + RELATIVE_ERROR)
    assert slot_of(top) == slot_of(ns)
    assert slot_of(top + 1) == slot_of(ns) + 1


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.integers(1, 5))
def test_percentiles_are_those_of_all_samples_however_they_were_split(
    values: list[int], parts: int
) -> None:
    histograms = [Histogram() for _ in range(parts)]
    for number, value in enumerate(values):
        histograms[number % parts].record(value)
    whole = merge(histograms)
    ordered = sorted(values)
    assert (whole.total, whole.min_ns, whole.max_ns) == (len(values), ordered[0], ordered[-1])
    for percent in (1, 50, 90, 95, 99, 100):
        exact = ordered[max(1, math.ceil(percent / 100 * len(values))) - 1]
        assert exact <= whole.percentile(percent) <= exact * (1 + RELATIVE_ERROR)
    shares = [share for _, share in whole.cumulative()]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_nothing_counted_is_zero_not_an_error() -> None:
    assert (Histogram().percentile(99), Histogram().mean_ns) == (0, 0.0)


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_the_parts_of_a_load_add_up(total: int, parts: int) -> None:
    shares = [share_of(total, parts, index) for index in range(parts)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_a_ratio_comes_with_its_interval() -> None:
    ratio = ratio_of([(2.0, 1.0), (4.0, 2.0), (8.0, 4.0)])
    assert ratio is not None
    assert ratio.value == pytest.approx(2)
    assert ratio.low == pytest.approx(2)
    assert ratio.high == pytest.approx(2)
    # By hand: logs 0 and ln 4, mean ln 2, deviation ln 4 / sqrt 2, t(1) = 12.706.
    wide = ratio_of([(1.0, 1.0), (4.0, 1.0)])
    assert wide is not None
    assert wide.high is not None
    assert math.log(wide.high / 2) == pytest.approx(12.706 * math.log(4) / 2)
    single = ratio_of([(3.0, 2.0)])
    assert single is not None
    assert single.value == pytest.approx(1.5)
    assert single.low is None
    assert ratio_of([(0.0, 1.0)]) is None


@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_a_trend_finds_the_slope_under_noise(slope: float) -> None:
    noise = random.Random(1)
    points = [(float(t), 100 + slope * t / 3600 + noise.gauss(0, 0.0005)) for t in range(200)]
    trend = trend_of(points)
    assert trend is not None
    assert trend.per_hour == pytest.approx(slope, abs=0.01)
    assert (trend.low_per_hour > 0) == (slope > 0)


def test_too_few_points_have_no_trend() -> None:
    assert trend_of([(0.0, 1.0), (1.0, 2.0)]) is None
    assert trend_of([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]) is None


def test_targets_are_judged_in_their_own_direction() -> None:
    outcome = outcome_of([10.0] * 98 + [400.0] * 2, refused=1)
    wanted = parse_targets("p95_ms=300,p99_ms=300,min_rps=50,max_failure_rate=0.001")
    verdicts = {one.target: one.is_met for one in judge(outcome, wanted, {})}
    assert verdicts == {
        "p95_ms": True,
        "p99_ms": False,
        "min_rps": True,
        "max_failure_rate": False,
    }


def test_a_figure_that_is_missing_is_a_miss_with_its_reason() -> None:
    wanted = {"queue_wait_p99_ms": 5.0}
    (verdict,) = judge(outcome_of([1.0]), wanted, {})
    assert not verdict.is_met
    assert "no figure" in verdict.reason
    snapshot = {"queue_wait_percentiles": {"p99": {"ns": 4 * MS, "open_ended": False}}}
    (verdict,) = judge(outcome_of([1.0]), wanted, snapshot)
    assert verdict.is_met
    (silent,) = judge(outcome_of([]), {"p95_ms": 300.0}, {})
    assert not silent.is_met


@pytest.mark.parametrize("text", ["p95=1", "p95_ms", "p95_ms=fast", "=3"])
def test_a_wrong_target_is_a_usage_error(text: str) -> None:
    with pytest.raises(SecretiveError) as caught:
        parse_targets(text)
    assert caught.value.code == "usage"


def test_gates_have_targets_that_exist() -> None:
    assert set(GATES) == {"smoke", "slo", "fanout-1000", "soak", "stress"}
    base = Scenario("/a")
    for gate in GATES.values():
        assert set(gate.targets) <= set(TARGET_KINDS)
        assert [one.clients for one in gate.scenarios(base)] == list(gate.tiers)
        assert all(one.duration_s == 3 for one in gate.scenarios(base, duration_s=3.0))
    assert GATES["smoke"].scenarios(base)[0].count == 128 * 8
    stress = [(one.clients, one.duration_s) for one in GATES["stress"].scenarios(base)]
    assert stress == [(512, 300), (1024, 300), (1536, 300), (4096, 300)]


def vitals_of(rss_mb: list[float], fds: list[int]) -> list[tuple[float, list[Vitals]]]:
    return [
        (float(number), [Vitals(5, int(mb * 1024 * 1024), count)])
        for number, (mb, count) in enumerate(zip(rss_mb, fds, strict=True))
    ]


@pytest.mark.parametrize(
    ("rss", "fds", "leaks"),
    [
        ([30 + n * 0.5 for n in range(60)], [20] * 60, {"rss_bytes"}),
        ([30.0] * 60, [20 + n for n in range(60)], {"open_fds"}),
        ([30.0] * 60, [20 + n % 7 for n in range(60)], set()),
        # More of the eight clients are connected at a time, for the machine grew busy.
        ([30.0] * 60, [20 + n // 2 for n in range(60)], set()),
        # A pool that fills while the agent settles in is no leak.
        ([10 + min(n, 15) * 2.0 for n in range(60)], [20] * 60, set()),
    ],
)
def test_a_leak_is_what_rises_steadily(rss: list[float], fds: list[int], leaks: set[str]) -> None:
    signs = judge_vitals(vitals_of(rss, fds), clients=8)
    assert {sign.name for sign in signs if sign.reason} == leaks


def test_a_soak_that_was_too_short_says_so() -> None:
    signs = judge_vitals(vitals_of([30.0] * 3, [20] * 3), clients=8)
    assert all("run for longer" in sign.reason for sign in signs)


@pytest.mark.parametrize("drift", [False, True])
def test_latency_that_drifts_is_told(drift: bool) -> None:
    latencies = [10 + (number / 10 if drift else 0) for number in range(400)]
    outcome = outcome_of(latencies)
    sign = judge_latency(replace(outcome, scenario=replace(outcome.scenario, duration_s=40.0)))
    assert bool(sign.reason) is drift


def test_json_and_csv_have_the_documented_figures() -> None:
    outcome = outcome_of([1.0, 2.0, 3.0], refused=1)
    document = json.loads(json.dumps(encode_run(outcome)))
    assert set(document) == {field.name for field in FIELDS} | set(GROUPS) | {"slice_s"}
    (row,) = csv.DictReader(io.StringIO(render_csv([outcome])))
    assert row["failures_refused"] == "1"
    assert float(row["latency_us_max"]) == 3000
    assert [float(row["failure_rate"]), document["failure_rate"]] == [0.25, 0.25]
    assert len(render_csv([outcome, outcome]).splitlines()) == 3
    assert "1 failed (rate 0.250000; refused 1)" in render_text(outcome)


def test_a_tool_that_was_busy_itself_refuses_to_report() -> None:
    check_ceiling(outcome_of([1.0], busy=0.7))
    with pytest.raises(SecretiveError) as caught:
        check_ceiling(outcome_of([1.0] * 100, busy=0.8))
    assert caught.value.code == "load_ceiling"
    assert caught.value.details["ceiling_per_s"] == pytest.approx(50 / 0.8)
