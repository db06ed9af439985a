"""What the audit log costs: Ed25519 signatures for 200 persistent clients with and without it.

The same agent without a log, with one that is made durable each second, and with one that is made
durable batch by batch; the file lies in the system's temporary folder. Judged by throughput, the load
tool on the same cores; reported beside it are signatures for each second of processor time of all the
agent's processes, which other programs move less. Each round has agents of its own, for where a
process's memory happens to lie moves its speed by as much as the log costs; in a round they take
several short turns, for the machine's speed changes from one second to the next. Clients that reconnect for every signature are reported too: for a
record the program of each of them is looked up. What the disk asks for a record that is made durable
by itself is measured without an agent: chain, seal, write and fdatasync, one record after the other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
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
FEW = 5
REPORTED_EACH = 4
"""Of so many rounds one measures what is reported beside the judged row."""

TURNS = 3
"""Of each agent in a round, after one that does not count."""

AT_LEAST = 0.95
"""At most five parts in a hundred of the throughput."""


def run(rounds: int) -> list[Measured]:
    """All three in turn."""
    runs: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-")))
        keys = stack.enter_context(some_keys())
        for lot in range(rounds):
            is_whole = lot % REPORTED_EACH == 0
            for name, results in one_lot(folder / str(lot), keys, is_whole=is_whole).items():
                runs.setdefault(name, []).append((lot, middle(results)))
    work = f"Ed25519 sign, {CLIENTS} persistent clients, audit log"
    rows = []
    for fsync, words in (("batch", "each second"), ("record", "each batch")):
        limit = AT_LEAST if fsync == "batch" else None
        mine, plain = in_same_lots(runs[fsync], runs[""])
        made, without = rates(mine), rates(plain)
        name = f"{work} durable {words}"
        rows += [
            judge(name, "no log", made, without, at_least=limit, unit="/s"),
            judge(f"{name}, a CPU second", "no log", per_cpu(mine), per_cpu(plain), unit="/s"),
        ]
    reconnecting = f"Ed25519 sign, {CLIENTS} reconnecting clients, audit log durable each second"
    mine, plain = in_same_lots(runs["batch again"], runs[" again"])
    name = f"{reconnecting}, a CPU second"
    rows.append(judge(name, "no log", per_cpu(mine), per_cpu(plain), unit="/s"))
    alone = [one_by_one(is_durable=True) for _ in range(FEW)]
    cached = [one_by_one(is_durable=False) for _ in range(FEW)]
    rows.append(
        judge("a record sealed, written and durable", "not durable", alone, cached, unit="us")
    )
    judged, _ = in_same_lots(runs["batch"], runs[""])
    rows.append(bound(f"{work}: failures", failures(judged), at_most=0, worst=True, unit=""))
    return rows


def one_lot(
    folder: Path, keys: Sequence[Path], *, is_whole: bool
) -> dict[str, list[dict[str, Any]]]:
    """Agents that are new, loaded in turn; with clients that reconnect, "again", if it is whole."""
    folder.mkdir()
    shape = Shape(CLIENTS, duration_s=0.5, warmup_s=0.15)
    works: dict[str, Callable[[], Any]] = {}
    with ExitStack() as stack:
        for fsync in ("", "batch", "record") if is_whole else ("", "batch"):
            config = ""
            if fsync:
                log = folder / f"{fsync}.jsonl"
                config = f'audit_requests = true\naudit_path = "{log}"\naudit_fsync = "{fsync}"'
            agent = stack.enter_context(start(f"ours:{CORES}", Setup(keys, config=config)))
            works[fsync] = partial(load, agent, shape, keys[0])
            if is_whole and fsync != "record":
                again = replace(shape, reconnect=True)
                works[f"{fsync} again"] = partial(load, agent, again, keys[0])
        return in_turn(works, TURNS)


def in_same_lots(
    some: list[tuple[int, dict[str, Any]]], others: list[tuple[int, dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both, of the lots that have both."""
    by_lot = dict(others)
    return [run for _, run in some], [by_lot[lot] for lot, _ in some]


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the turns of a lot the one of middling throughput."""
    return sorted(runs, key=lambda one: one["throughput_per_s"])[len(runs) // 2]


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
    options = read_options(rounds=21)
    finish(run(options.rounds), options)
