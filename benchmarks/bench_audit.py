"""What the audit log costs: Ed25519 signatures for 200 persistent clients with and without it.

The same agent without a log, with one that is made durable each second, and with one that is made
durable batch by batch; the file lies in the system's temporary folder. Judged by signatures for each
second of processor time of all the agent's processes, which the load of other programs moves less than
it moves the throughput, reported beside it. Clients that reconnect for every signature are reported
too: for a record the program of each of them is looked up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_rows import CORES, failures, in_turn, rates, some_keys
from load import Setup, Shape, load, start
from ratio import Measured, bound, finish, judge, read_options

CLIENTS = 200
AT_LEAST = 0.95
"""At most five parts in a hundred of the throughput."""


def run(rounds: int) -> list[Measured]:
    """All three in turn."""
    shape = Shape(CLIENTS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-")))
        keys = stack.enter_context(some_keys())
        agents = {}
        for fsync in ("", "batch", "record"):
            config = ""
            if fsync:
                log = folder / f"{fsync}.jsonl"
                config = f'audit_requests = true\naudit_path = "{log}"\naudit_fsync = "{fsync}"'
            setup = Setup(keys, config=config)
            agents[fsync] = stack.enter_context(start(f"ours:{CORES}", setup))
        works: dict[str, Callable[[], Any]]
        works = {fsync: partial(load, agent, shape, keys[0]) for fsync, agent in agents.items()}
        for fsync in ("", "batch"):
            again = replace(shape, reconnect=True)
            works[f"{fsync} again"] = partial(load, agents[fsync], again, keys[0])
        runs = in_turn(works, rounds)
    work = f"Ed25519 sign, {CLIENTS} persistent clients, audit log"
    rows = []
    for fsync, words in (("batch", "each second"), ("record", "each batch")):
        limit = AT_LEAST if fsync == "batch" else None
        mine, plain = per_cpu(runs[fsync]), per_cpu(runs[""])
        name = f"{work} durable {words}"
        rows += [
            judge(f"{name}, a CPU second", "no log", mine, plain, at_least=limit, unit="/s"),
            judge(name, "no log", rates(runs[fsync]), rates(runs[""]), unit="/s"),
        ]
    reconnecting = f"Ed25519 sign, {CLIENTS} reconnecting clients, audit log durable each second"
    mine, plain = per_cpu(runs["batch again"]), per_cpu(runs[" again"])
    rows.append(judge(f"{reconnecting}, a CPU second", "no log", mine, plain, unit="/s"))
    rows.append(bound(f"{work}: failures", failures(runs["batch"]), at_most=0, worst=True, unit=""))
    return rows


def per_cpu(runs: list[dict[str, Any]]) -> list[float]:
    """Signatures for each second of processor time of the agent."""
    return [one["completed"] / one["target_cpu_s"] for one in runs]


if __name__ == "__main__":
    options = read_options(rounds=5)
    finish(run(options.rounds), options)
