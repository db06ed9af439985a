"""What the audit log costs: Ed25519 signatures for 200 persistent clients with and without it.

The same agent without a log, with one that is made durable each second, and with one that is made
durable batch by batch; the file lies in the system's temporary folder. Judged by throughput, the load
tool on the same cores; reported beside it are signatures for each second of processor time of all the
agent's processes, which other programs move less. Rounds are short and many, for the machine's speed
changes from one second to the next. Clients that reconnect for every signature are reported too: for a
record the program of each of them is looked up. What the disk asks for a record that is made durable
by itself is measured without an agent: chain, seal, write and fdatasync, one record after the other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_rows import CORES, failures, in_turn, rates, some_keys
from load import Setup, Shape, load, start
from ratio import Measured, bound, finish, judge, read_options
from secretivex.audit.chain import Chain
from secretivex.audit.record import AuditRecord, encode_record
from secretivex.server.audit.file_sink import FileSink
from secretivex.server.audit.process import utc_now

CLIENTS = 200
RECORDS = 200
AT_LEAST = 0.95
"""At most five parts in a hundred of the throughput."""


def run(rounds: int) -> list[Measured]:
    """All three in turn."""
    shape = Shape(CLIENTS, duration_s=1.0, warmup_s=0.3)
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
        made, without = rates(runs[fsync]), rates(runs[""])
        rows += [
            judge(name, "no log", made, without, at_least=limit, unit="/s"),
            judge(f"{name}, a CPU second", "no log", mine, plain, unit="/s"),
        ]
    reconnecting = f"Ed25519 sign, {CLIENTS} reconnecting clients, audit log durable each second"
    mine, plain = per_cpu(runs["batch again"]), per_cpu(runs[" again"])
    rows.append(judge(f"{reconnecting}, a CPU second", "no log", mine, plain, unit="/s"))
    alone = [one_by_one(is_durable=True) for _ in range(rounds)]
    cached = [one_by_one(is_durable=False) for _ in range(rounds)]
    rows.append(
        judge("a record sealed, written and durable", "not durable", alone, cached, unit="us")
    )
    rows.append(bound(f"{work}: failures", failures(runs["batch"]), at_most=0, worst=True, unit=""))
    return rows


def one_by_one(*, is_durable: bool) -> float:
    """Microseconds of a record that shares its seal, its write and its fdatasync with no other."""
    line = encode_record(
        AuditRecord(utc_now(), "sign", "ok", uid=1000, pid=4711, key="SHA256:" + "k" * 43)
    )
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        sink = FileSink(Path(folder) / "log", max_bytes=1 << 30, keep=1)
        chain = Chain(bytes(32))
        begun = time.perf_counter()
        for _ in range(RECORDS):
            sink.write(line + chain.seal(line))
            if is_durable:
                sink.sync()
        spent_s = time.perf_counter() - begun
        sink.close()
    return spent_s / RECORDS * 1e6


def per_cpu(runs: list[dict[str, Any]]) -> list[float]:
    """Signatures for each second of processor time of the agent."""
    return [one["completed"] / one["target_cpu_s"] for one in runs]


if __name__ == "__main__":
    options = read_options(rounds=9)
    finish(run(options.rounds), options)
