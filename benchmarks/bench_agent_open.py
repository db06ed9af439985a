"""Thousands of connections that stay open: errors, memory, and what a list takes meanwhile."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_rows import CORES, failures, latencies_ms, side_by_side, some_keys
from load import Agent, Shape, load
from ratio import Measured, bound, finish, read_options

NAME = f"ours:{CORES}"
PACED = Shape(4, mode="list", rate=500, idle=10_000, duration_s=3)


def resident_mb(agent: Agent) -> float:
    """Memory of all its processes; shared pages count in each, so the difference is what tells."""
    total_kb = 0
    for pid in agent.pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total_kb / 1024


def many_open(rounds: int, key: Path) -> list[Measured]:
    """Four thousand open, a thousand coming and going."""
    shape = Shape(1000, reconnect=True, idle=4000)
    with side_by_side(NAME, keys=[key]) as (ours,):
        runs = [load(ours, shape, key) for _ in range(rounds)]
    work = "4,000 open connections, 1,000 clients reconnecting"
    return [bound(f"{work}: errors", failures(runs), at_most=0, worst=True, unit="")]


def idle(rounds: int, key: Path) -> list[Measured]:
    """Ten thousand idle ones; memory is read while they stand, by a run within the run."""
    runs: list[dict[str, Any]] = []
    grown = []
    for _ in range(rounds):
        # A fresh agent each time: what the last round left behind would hide what this one takes.
        with side_by_side(NAME, keys=[key]) as (ours,):
            load(ours, Shape(4, mode="list", duration_s=0.5), key)
            before = resident_mb(ours)
            runs.append(load(ours, PACED, key))
            # Peaks stay: neither the interpreter nor the allocator gives them back at once.
            grown.append(resident_mb(ours) - before)
    work = "10,000 idle connections"
    return [
        bound(f"{work}: memory beside the empty agent", grown, at_most=80, unit="MB"),
        bound(f"{work}: p99 of a list meanwhile", latencies_ms(runs, "p99"), at_most=5, unit="ms"),
        bound(f"{work}: failures", failures(runs), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure both."""
    options = read_options(rounds=5)
    with some_keys() as keys:
        finish([*many_open(options.rounds, keys[0]), *idle(options.rounds, keys[0])], options)


if __name__ == "__main__":
    main()
