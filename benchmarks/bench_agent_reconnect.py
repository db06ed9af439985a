"""A thousand clients that connect for each signature, beside `ssh-agent`, and at half capacity."""

from __future__ import annotations

import statistics

from agent_rows import (
    CORES,
    failures,
    in_turn,
    latencies_ms,
    rates,
    side_by_side,
    some_keys,
)
from load import Shape, load
from ratio import bound, finish, judge, read_options

CLIENTS = 1000


def main() -> None:
    """Measure closed and open loop."""
    options = read_options(rounds=5)
    names = (f"ours:{CORES}", "ssh-agent")
    closed = Shape(CLIENTS, reconnect=True)
    with some_keys() as keys, side_by_side(*names, keys=keys) as (ours, other):
        runs = in_turn(
            {
                "ours": lambda: load(ours, closed, keys[0]),
                "other": lambda: load(other, closed, keys[0]),
            },
            options.rounds,
        )
        half = Shape(CLIENTS, reconnect=True, rate=statistics.median(rates(runs["ours"])) / 2)
        paced = [load(ours, half, keys[0]) for _ in range(options.rounds)]
    mine = rates(runs["ours"])
    work = f"reconnect + sign, {CLIENTS} clients"
    # Little's law: with N clients in a closed loop the mean latency is N / throughput.
    fair_ms = [CLIENTS / rate * 1000 for rate in mine]
    p99_ms = latencies_ms(runs["ours"], "p99")
    rows = [
        judge(work, "ssh-agent", mine, rates(runs["other"]), at_least=8, unit="/s"),
        bound(work, mine, at_least=3400, unit="/s"),
        bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
        judge(f"{work}: p99", "N / throughput", p99_ms, fair_ms, at_most=2, unit="ms"),
        bound(
            f"{work}, open loop at half the capacity: p99",
            latencies_ms(paced, "p99"),
            at_most=100,
            unit="ms",
        ),
        bound(f"{work}, open loop: failures", failures(paced), at_most=0, worst=True, unit=""),
    ]
    finish(rows, options)


if __name__ == "__main__":
    main()
