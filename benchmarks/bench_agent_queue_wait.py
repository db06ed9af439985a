"""The queue wait that the agent tells, beside what its clients see from outside.

From outside a request's wait is its latency under load less the latency of a client that is alone.
One worker has a core for itself and the load tool another one, as an agent that has to wait for a
core waits in no queue of its own.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from agent_rows import AGENT_CORE, LOAD_CORE, latencies_ms, side_by_side, some_keys
from load import Agent, Shape, load, load_beside
from ratio import Measured, finish, judge, read_options, with_note
from secretivex.server.report.control_socket import ask, control_path

CROWD = Shape(200, duration_s=60, cores=LOAD_CORE)
ALONE = Shape(1, duration_s=0.5, cores=LOAD_CORE)
WINDOW_S = 2.0
WITHIN = 0.10
PERCENTILES = ("p50", "p99")


def told_ms(agent: Agent) -> dict[str, float]:
    """The percentiles since the last reset."""
    snapshot = ask(control_path(Path(agent.address)), "metrics", timeout_s=10)
    found = snapshot["queue_wait_percentiles"]
    return {name: found[name]["ns"] / 1e6 for name in PERCENTILES}


def reset(agent: Agent) -> None:
    """Begin a new window of the agent's figures."""
    ask(control_path(Path(agent.address)), "reset", timeout_s=10)


def run(agent: Agent, key: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What the agent tells and what is seen from outside, in ms."""
    alone_ms = latencies_ms([load(agent, ALONE, key)], "p50")[0]
    with load_beside(agent, CROWD, key) as seen:
        # Both windows begin when the tool's warm-up is over: a request that waits to be accepted
        # with its connection waits where an agent cannot see it.
        time.sleep(CROWD.warmup_s)
        reset(agent)
        time.sleep(WINDOW_S)
        told = told_ms(agent)
    outside = {name: latencies_ms([seen], name)[0] - alone_ms for name in PERCENTILES}
    return told, outside


def row_of(name: str, runs: list[tuple[dict[str, float], dict[str, float]]]) -> Measured:
    """Met when the median of the ratios is within ten per cent of one, on either side."""
    told, seen = ([run[side][name] for run in runs] for side in (0, 1))
    off = [max(a / b, b / a) for a, b in zip(told, seen, strict=True)]
    row = judge(
        f"queue wait told by the agent, {name}, how far off",
        "measured outside",
        off,
        [1.0] * len(off),
        at_most=1 + WITHIN,
        unit="",
    )
    figures = f"{statistics.median(told):.3f} ms told, {statistics.median(seen):.3f} ms seen"
    return with_note(row, figures)


def main() -> None:
    """Measure the median and the tail."""
    options = read_options(rounds=5)
    with some_keys() as keys, side_by_side("ours:1", cores=AGENT_CORE, keys=keys) as (ours,):
        run(ours, keys[0])
        runs = [run(ours, keys[0]) for _ in range(options.rounds)]
    finish([row_of(name, runs) for name in PERCENTILES], options)


if __name__ == "__main__":
    main()
