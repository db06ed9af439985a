"""Runs in turn, agents that are watched, pictures that cannot be drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from secretivex.bench.agent_vitals import watch_processes
from secretivex.bench.compare import Comparison, at_address, compare, encode_ratio
from secretivex.bench.run import Outcome
from secretivex.bench.scenario import Scenario
from secretivex.bench.soak import Vitals, Watcher
from secretivex.bench.tally import Tally
from secretivex.errors import SecretiveError

ROOT = Path(__file__).resolve().parents[2]


def outcome_of(scenario: Scenario, latency_ns: int, *, busy: float = 0.1) -> Outcome:
    tally = Tally(busy_share=busy)
    tally.at(0).latency.record(latency_ns)
    tally.at(0).completed = 1_000_000 // latency_ns
    return Outcome(scenario, tally, 1.0, 0, 1)


def test_agents_are_measured_in_turn_and_take_turns_at_being_first() -> None:
    order = []

    def run(scenario: Scenario) -> Outcome:
        order.append(scenario.address)
        return outcome_of(scenario, 100 if scenario.address == "/a" else 200)

    base = Scenario("/a")
    result = compare(base, at_address(base, "/b", b"key"), rounds=3, run=run)
    assert order == ["/a", "/b", "/b", "/a", "/a", "/b"]
    assert [one.scenario.address for one in (*result.a, *result.b)] == ["/a"] * 3 + ["/b"] * 3
    ratios = result.ratios()
    assert encode_ratio(ratios["throughput"]) == pytest.approx({"ratio": 2, "low": 2, "high": 2})
    assert result.failures() == {"a": 0, "b": 0}


def test_a_comparison_that_the_tool_limited_ends_without_figures() -> None:
    def run(scenario: Scenario) -> Outcome:
        return outcome_of(scenario, 100, busy=0.9)

    with pytest.raises(SecretiveError) as caught:
        compare(Scenario("/a"), Scenario("/b"), rounds=1, run=run)
    assert caught.value.code == "load_ceiling"


def test_a_side_that_did_nothing_has_no_ratio() -> None:
    idle = Outcome(Scenario("/b"), Tally(), 1.0, 0, 1)
    result = Comparison((outcome_of(Scenario("/a"), 100),), (idle,))
    assert set(result.ratios().values()) == {None}
    assert encode_ratio(None) is None


def test_an_agent_is_looked_at_no_more_often_than_asked() -> None:
    now = 0.0
    looks = []

    def probe() -> Sequence[Vitals]:
        looks.append(now)
        return [Vitals(1, 2, 3)]

    watcher = Watcher(probe, lambda: now, every_s=1.0)
    for step in range(40):
        now = step / 10
        watcher.tick()
    assert looks == [0.0, 1.0, 2.0, 3.0]
    assert [time for time, _ in watcher.points] == looks


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_a_process_and_its_children_are_looked_at_from_outside() -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        seen = {one.pid: one for one in watch_processes([os.getpid()])()}
        child.kill()
    assert {os.getpid(), child.pid} <= set(seen)
    assert seen[os.getpid()].rss_bytes > 1_000_000
    assert seen[os.getpid()].open_fds > 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_a_child_that_ended_meanwhile_is_no_error() -> None:
    with subprocess.Popen(["true"]) as child:
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is not None
        assert os.getpid() in {one.pid for one in watch_processes([os.getpid()])()}


def test_a_process_that_cannot_be_looked_at_is_an_error() -> None:
    with pytest.raises(SecretiveError) as caught:
        watch_processes([2**22 + 1])()
    assert caught.value.code == "metrics_unavailable"


def test_a_plot_without_its_library_names_the_extra_before_anything_runs() -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = sys.modules['matplotlib.figure'] = None\n"
        "from pathlib import Path\n"
        "from clikit.command.plotting import check_plot\n"
        "from clikit.errors import Failure\n"
        "try:\n    check_plot(Path('out.svg'))\n"
        "except Failure as error:\n    print(error.code, error.hint)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("missing_extra")
    assert "[plot]" in done.stdout
