"""Runs a scenario in as many processes as it says, and puts together what they counted.

Rule for editors: processes begin at one moment of the monotonic clock, after all of them are ready;
a load that the tool itself may have limited is never reported as the agent's.
"""

from __future__ import annotations

import mmap
import multiprocessing
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from secretivex.bench.loop.client import NS, Part
from secretivex.bench.loop.process import run_part
from secretivex.bench.scenario import Scenario, share_of
from secretivex.bench.tally import Tally
from secretivex.errors import SecretiveError

MAX_BUSY_SHARE: Final = 0.7
"""Of its ceiling; above it, latency is as much the tool's as the agent's."""

LEAD_NS: Final = 50_000_000
"""Between the word to begin and the beginning."""

SPARE_DESCRIPTORS: Final = 64
TICK_S: Final = 0.2
_CELL_BYTES: Final = 8

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario gave."""

    scenario: Scenario
    tally: Tally
    window_s: float
    started_unix_ms: int
    finished_unix_ms: int

    @property
    def throughput_per_s(self) -> float:
        """Answers a second within the window."""
        return self.tally.completed / self.window_s if self.window_s else 0.0

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return self.tally.failures.total()

    @property
    def failure_rate(self) -> float:
        """Share of all requests that failed; 1 where none was even tried."""
        attempted = self.tally.latency.total + self.failed
        return self.failed / attempted if attempted else 1.0

    @property
    def ceiling_per_s(self) -> float:
        """What this tool could do in this scenario if its busiest process never slept."""
        share = self.tally.busy_share
        return self.throughput_per_s / share if share else 0.0

    @property
    def is_limited_by_tool(self) -> bool:
        """Whether the figures may be the tool's own."""
        return self.tally.busy_share > MAX_BUSY_SHARE


def check_ceiling(outcome: Outcome) -> None:
    """Raise `load_ceiling` for a run that the tool itself may have limited."""
    if outcome.is_limited_by_tool:
        share = outcome.tally.busy_share
        raise SecretiveError(
            "load_ceiling",
            f"the load processes were busy for {share:.0%} of the time, so the figures would be "
            f"theirs: about {outcome.ceiling_per_s:.0f} requests a second is all they could do",
            hint="use more --processes (with cores for them), or a lower --rate",
            details={"busy_share": share, "ceiling_per_s": outcome.ceiling_per_s},
        )


def run_scenario(scenario: Scenario, advance: Advance = lambda _count: None) -> Outcome:
    """Put the load on; `advance` hears how many more requests are done, a few times a second."""
    _raise_limit(scenario)
    # fork: the processes share the cells and start at once; nothing here has threads.
    context = multiprocessing.get_context("fork")
    shared = mmap.mmap(-1, scenario.processes * _CELL_BYTES)
    cells = memoryview(shared).cast("Q")
    pairs = [context.Pipe() for _ in range(scenario.processes)]
    workers = [
        context.Process(target=_work, args=(scenario, index, far, cells), daemon=True)
        for index, (_, far) in enumerate(pairs)
    ]
    started_ms = time.time_ns() // 1_000_000
    try:
        for worker in workers:
            worker.start()
        tally, begin_ns = _gather([near for near, _ in pairs], cells, advance)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            worker.join()
        for near, far in pairs:
            near.close()
            far.close()
        cells.release()
        shared.close()
    window_s = scenario.duration_s
    if scenario.count:
        window_s = (tally.last_ns - begin_ns) / NS - scenario.warmup_s if tally.last_ns else 0.0
    return Outcome(scenario, tally, window_s, started_ms, time.time_ns() // 1_000_000)


def _gather(pipes: list[Connection], cells: memoryview, advance: Advance) -> tuple[Tally, int]:
    for pipe in pipes:
        _receive(pipe)
    begin_ns = time.monotonic_ns() + LEAD_NS
    for pipe in pipes:
        pipe.send(begin_ns)
    whole, seen, open_pipes = Tally(), 0, list(pipes)
    while open_pipes:
        ready = wait(open_pipes, timeout=TICK_S)
        for pipe in [one for one in open_pipes if one in ready]:
            whole.add(_receive(pipe))
            open_pipes.remove(pipe)
        done = sum(cells)
        advance(done - seen)
        seen = done
    return whole, begin_ns


def _receive(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise SecretiveError("internal", "a load process ended before its time") from None


def _work(scenario: Scenario, index: int, pipe: Connection, cells: memoryview) -> None:
    """A process; Ctrl-C ends it from the parent, quietly."""
    parts = scenario.processes
    with suppress(KeyboardInterrupt):
        pipe.send("ready")
        part = Part(
            scenario,
            index,
            share_of(scenario.clients, parts, index),
            share_of(scenario.count, parts, index),
            scenario.rate_per_s / parts,
            pipe.recv(),
        )
        pipe.send(run_part(part, cells))


def _raise_limit(scenario: Scenario) -> None:
    """Each process needs a descriptor a client; say so now rather than fail one by one."""
    needed = share_of(scenario.clients, scenario.processes, 0) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise SecretiveError(
            "usage",
            f"{scenario.clients} clients in {scenario.processes} processes need {needed} file "
            f"descriptors each, and the limit is {hard}",
            hint="use more --processes, or raise the limit (ulimit -Hn)",
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
