"""What listing takes while another client asks for nothing but signatures.

The agent has one worker on a core of its own, so that no second worker helps the lister out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_rows import AGENT_CORE, LOAD_CORE, failures, latencies_ms, side_by_side, some_keys
from load import Agent, Shape, blob_hex, build_load, load, pinned
from ratio import ROUNDS, bound, finish, judge, read_options

STORM = Shape(200, duration_s=60, cores=LOAD_CORE)
LISTER = Shape(1, mode="list", cores=LOAD_CORE)


@contextmanager
def storm(agent: Agent, key: Path) -> Iterator[None]:
    """200 connections of one process that sign all the time."""
    command = [str(build_load()), f"--socket={agent.address}", "--key", blob_hex(key)]
    process = subprocess.Popen(
        pinned([*command, *STORM.words()], STORM.cores), stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure the lister alone and amid the storm, in turn."""
    options = read_options(rounds=ROUNDS)
    alone: list[dict[str, Any]] = []
    amid: list[dict[str, Any]] = []
    with some_keys() as keys, side_by_side("ours:1", cores=AGENT_CORE, keys=keys) as (ours,):
        for _ in range(options.rounds):
            alone.append(load(ours, LISTER, keys[0]))
            with storm(ours, keys[0]):
                amid.append(load(ours, LISTER, keys[0]))
    work = "sign storm from one client: p99 of another's list"
    p99 = latencies_ms(amid, "p99"), latencies_ms(alone, "p99")
    rows = [
        judge(work, "list alone", *p99, at_most=5, unit="ms"),
        bound(f"{work}: failures", failures(amid), at_most=0, worst=True, unit=""),
    ]
    finish(rows, options)


if __name__ == "__main__":
    main()
