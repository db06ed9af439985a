"""What the audit log costs: Ed25519 signatures for 200 persistent clients with and without it.

Two agents at once, one without a log, each with half of the clients and both on all cores: what
disturbs the machine disturbs both alike. One after the other they differ by a tenth and more from one
second to the next, several times what is to be measured. Judged are signatures for each second of
processor time of all of an agent's processes, its log's writer among them: so many fewer it makes where
it fills the cores, and the cost of the clients does not hide it. Reported beside it is the throughput
of both one after the other. Each round has agents of its own, for where a process's memory happens to
lie moves its speed too.

The log lies in the system's temporary folder and is made durable each second, or batch by batch. Clients
that reconnect for every signature are reported too: for a record the program of each of them is looked
up. What the disk asks for a record that is made durable by itself is measured without an agent: chain,
seal, write and fdatasync, one record after the other.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from agent_rows import CORES, failures, rates, some_keys
from load import Agent, Setup, Shape, load, start
from ratio import Measured, bound, finish, judge, read_options
from secretivex.audit.chain import Chain
from secretivex.audit.record import AuditRecord, encode_record
from secretivex.server.audit.file_sink import FileSink
from secretivex.server.audit.process import utc_now

CLIENTS = 200
RECORDS = 200
AT_LEAST = 0.95
"""At most five parts in a hundred."""

WARM_UP_S, WINDOW_S = 0.4, 1.2
"""The callers are looked up before processor time counts: once a connection."""

FEW = 5
REPORTED_EACH = 3
"""Of so many rounds one measures what is reported beside the judged row."""

TURNS = 5
"""Of a pair of agents in a round; the middle one counts."""

Runs = dict[str, list[float]]
"""Of each kind the figure of each round, without a log under the kind's name, with one as `logged`."""


def run(rounds: int) -> list[Measured]:
    """Round by round."""
    runs: Runs = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audit-")))
        keys = stack.enter_context(some_keys())
        for number in range(rounds):
            measure_round(folder / str(number), keys, runs, is_whole=number % REPORTED_EACH == 0)
    work = f"Ed25519 sign, {CLIENTS} persistent clients, audit log"
    rows = [
        compare(f"{work} durable each second", runs, "batch", at_least=AT_LEAST),
        compare(f"{work} durable each batch", runs, "record"),
        compare(f"{work} durable each second, reconnecting clients", runs, "again"),
    ]
    name = f"{work} durable each second, throughput, one after the other"
    rows.append(judge(name, "no log", runs["alone logged"], runs["alone"], unit="/s"))
    alone = [one_by_one(is_durable=True) for _ in range(FEW)]
    cached = [one_by_one(is_durable=False) for _ in range(FEW)]
    rows.append(
        judge("a record sealed, written and durable", "not durable", alone, cached, unit="us")
    )
    rows.append(bound(f"{work}: failures", runs["failed"], at_most=0, worst=True, unit=""))
    return rows


def measure_round(folder: Path, keys: Sequence[Path], runs: Runs, *, is_whole: bool) -> None:
    """Agents that are new; all that is reported, too, if the round is whole."""
    folder.mkdir()
    shape = Shape(CLIENTS // 2, duration_s=WINDOW_S, warmup_s=WARM_UP_S)
    with ExitStack() as stack:

        def begin(fsync: str) -> Agent:
            config = ""
            if fsync:
                log = folder / f"{fsync}.jsonl"
                config = f'audit_requests = true\naudit_path = "{log}"\naudit_fsync = "{fsync}"'
            return stack.enter_context(start(f"ours:{CORES}", Setup(keys, config=config)))

        plain, logged = begin(""), begin("batch")
        load_at_once(runs, "batch", (plain, logged), shape, keys[0])
        if is_whole:
            load_at_once(runs, "again", (plain, logged), replace(shape, reconnect=True), keys[0])
            load_at_once(runs, "record", (plain, begin("record")), shape, keys[0])
        whole = Shape(CLIENTS, duration_s=0.6, warmup_s=0.15)
        for name, agent in (("alone", plain), ("alone logged", logged)):
            runs[name] += rates([load(agent, whole, keys[0])])


def load_at_once(
    runs: Runs, kind: str, agents: tuple[Agent, Agent], shape: Shape, key: Path
) -> None:
    """Both under the same load, several times; the turn with the middle ratio is kept."""
    turns = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(TURNS):
            loads = [pool.submit(load, agent, shape, key) for agent in agents]
            time.sleep(WARM_UP_S * 1.5)
            begun, before_ns = time.monotonic(), [cpu_ns(agent) for agent in agents]
            time.sleep(WINDOW_S - WARM_UP_S)
            spent_s, after_ns = time.monotonic() - begun, [cpu_ns(agent) for agent in agents]
            results = [one.result() for one in loads]
            turns.append(
                [
                    one["throughput_per_s"] * spent_s / (after - before) * 1e9
                    for one, after, before in zip(results, after_ns, before_ns, strict=True)
                ]
            )
            runs["failed"] += failures(results)
    plain, logged = sorted(turns, key=lambda pair: pair[1] / pair[0])[TURNS // 2]
    runs[kind].append(plain)
    runs[f"{kind} logged"].append(logged)


def cpu_ns(agent: Agent) -> int:
    """What its processes ran, in nanoseconds (the first figure of proc(5)'s schedstat)."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in agent.pids)


def compare(name: str, runs: Runs, kind: str, *, at_least: float | None = None) -> Measured:
    """Signatures a processor second with the log against those without."""
    name = f"{name}, a CPU second, both at once"
    made, without = runs[f"{kind} logged"], runs[kind]
    return judge(name, "no log", made, without, at_least=at_least, unit="/s")


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


if __name__ == "__main__":
    options = read_options(rounds=10)
    finish(run(options.rounds), options)
