"""`secretive-bench soak`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from clikit.table import render_table
from secretivex.bench.agent_vitals import watch_processes
from secretivex.bench.report.fields import encode_run
from secretivex.bench.report.render import render_text
from secretivex.bench.run import Outcome, check_ceiling, run_scenario
from secretivex.bench.scenario import Scenario
from secretivex.bench.soak import Probe, Vitals, VitalSign, Watcher, judge_latency, judge_vitals
from secretivex.cli.bench.options import BenchCall, Duration, shape_options
from secretivex.cli.bench.snapshot import read_snapshot
from secretivex.errors import SecretiveError

MIN_S = 3.0
SAMPLES = 200

FIRST_LOOK_S = 5.0
"""How long an agent may take from its first answer to the first figures of its processes."""


@click.command("soak")
@shape_options(formats=("text", "json"), load=False)
@click.option(
    "--duration", type=Duration(), default=300.0, help="5m, 6h and the like.  [default: 5m]"
)
@click.option("--clients", type=click.IntRange(min=1), default=256, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0.0, help="Open loop at so many a second."
)
@click.option(
    "--pid",
    "pids",
    type=click.IntRange(min=1),
    multiple=True,
    help="Watch this process and its children from outside instead of asking the agent.",
)
@click.option("--max-failure-rate", type=click.FloatRange(0, 1), default=0.001, show_default=True)
def command(
    call: BenchCall,
    *,
    scenario: Scenario,
    duration: float,
    clients: int,
    rate: float,
    pids: tuple[int, ...],
    max_failure_rate: float,
) -> None:
    """Load an agent for long and follow the memory, descriptors and latency of each process.

    Fails when one of them rises steadily, or when requests fail.
    """
    if duration < MIN_S:
        raise SecretiveError("usage", f"--duration must be at least {MIN_S:g}s to show a trend")
    scenario = replace(
        scenario, reconnect=True, clients=clients, rate_per_s=rate, duration_s=duration, warmup_s=2
    )
    outcome, signs = _watch(call, scenario, probe_of(scenario.address, pids))
    reasons = [f"{_name(sign)} {sign.reason}" for sign in signs if sign.reason]
    if outcome.failure_rate > max_failure_rate:
        reasons.append(f"failure rate {outcome.failure_rate:.6f} is over {max_failure_rate:g}")
    found = SecretiveError("slo_missed", "; ".join(reasons)) if reasons else None
    data = {"vitals": [asdict(sign) for sign in signs], "run": encode_run(outcome)}
    call.emit(data, lambda: _lines(outcome, signs), found=found)


def probe_of(address: str, pids: Sequence[int]) -> Probe:
    """How the agent is watched."""
    if pids:
        return watch_processes(pids)
    end = time.monotonic() + FIRST_LOOK_S
    while not (is_told := bool(read_snapshot(address).get("processes"))):
        # An agent that was started a moment ago answers before its processes looked at themselves.
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    if is_told:
        return lambda: [
            Vitals(row["pid"], row["rss_bytes"], row["fds"])
            for row in read_snapshot(address).get("processes", ())
        ]
    raise SecretiveError(
        "metrics_unavailable",
        f"the agent at {address} does not tell the memory of its processes",
        hint="name its process with --pid",
    )


def _watch(call: BenchCall, scenario: Scenario, probe: Probe) -> tuple[Outcome, list[VitalSign]]:
    probe()
    every_s = max(0.25, scenario.duration_s / SAMPLES)
    watcher = Watcher(probe, time.monotonic, every_s=every_s)
    with call.progress(f"soak, {scenario.clients} clients") as progress:

        def advance(count: int) -> None:
            progress.advance(count)
            watcher.tick()

        outcome = run_scenario(scenario, advance)
    check_ceiling(outcome)
    signs = judge_vitals(watcher.points, clients=scenario.clients)
    return outcome, [*signs, judge_latency(outcome)]


def _name(sign: VitalSign) -> str:
    return f"{sign.name} of process {sign.pid}" if sign.pid else sign.name


def _lines(outcome: Outcome, signs: list[VitalSign]) -> Iterable[str]:
    yield render_text(outcome)
    rows: list[tuple[Any, ...]] = [
        (
            sign.pid or "load",
            sign.name,
            f"{sign.first:.6g}",
            f"{sign.last:.6g}",
            f"{sign.trend.per_hour:.4g}" if sign.trend else "",
            sign.reason or "steady",
        )
        for sign in signs
    ]
    yield render_table(("PROCESS", "FIGURE", "FIRST", "LAST", "AN HOUR", "VERDICT"), rows)
