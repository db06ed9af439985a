"""Judging in several processes: each reads its own part of the store, one alone writes.

Processes are spawned, never forked: a connection to a database does not survive a fork.
Rule for editors: what a worker is given is values; what comes of a task does not depend on who did it,
nor on when.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any, Final

from fleetmdm.evaluate import Evaluator, compile_policies
from fleetmdm.evaluate.program import Program
from fleetmdm.governance.assign import Assignment
from fleetmdm.policy import CompliancePolicy
from fleetmdm.store.port import Judge, Judged, TaskDesk, TaskWorker
from fleetmdm.store.selections import load_selections

_log: Final = logging.getLogger("fleetmdm.check")

LEAST_TASKS: Final = 40
"""With fewer, this process is done before another has begun."""
MAX_WORKERS: Final = 16
AHEAD: Final = 4
"""Tasks for each worker that are asked for before the oldest is taken: bounds what waits."""


@dataclass(frozen=True, slots=True)
class Order:
    """What every worker is told once."""

    desk: TaskDesk[Any]
    policies: tuple[CompliancePolicy, ...]
    assignments: tuple[Assignment, ...]
    only_assigned: bool
    as_of: datetime


def compile_order(
    policies: Sequence[CompliancePolicy],
    assignments: Sequence[Assignment],
    *,
    only_assigned: bool,
) -> tuple[Program, ...]:
    """The programs that a run judges by."""
    return compile_policies(policies, load_selections(assignments, only_assigned=only_assigned))


def choose_workers(wanted: int, tasks: int) -> int:
    """How many processes to start beside this one, which judges too; `wanted` counts it.

    0 is to want as many as pay.
    """
    if wanted:
        return min(wanted, MAX_WORKERS) - 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MAX_WORKERS) - 1 if tasks >= LEAST_TASKS else 0


def judge_together(
    order: Order, tasks: Sequence[Any], workers: int, here: Callable[[Any], Judged]
) -> Iterator[Judged]:
    """What comes of the tasks, in whatever order; `here` does one in this process.

    This process works while it waits, from before the others have started, and goes on alone if one
    of them is killed.
    """
    left = deque(tasks)
    if workers:
        asked: deque[tuple[Any, Future[Judged]]] = deque()
        try:
            yield from _share(order, left, asked, workers, here)
        except BrokenProcessPool:
            # Somebody killed a worker, or memory ran out.
            _log.warning("a process that judged was killed; the rest is judged in one process")
            left.extend(task for task, _ in asked)
    for task in left:
        yield here(task)


def _share(
    order: Order,
    left: deque[Any],
    asked: deque[tuple[Any, Future[Judged]]],
    workers: int,
    here: Callable[[Any], Judged],
) -> Iterator[Judged]:
    """Take tasks from `left` until there is none; `asked` are those that others have."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(order,))
    try:
        while left or asked:
            while left and len(asked) < workers * AHEAD:
                asked.append((left[0], pool.submit(_do, left[0])))
                left.popleft()
            if left and not asked[0][1].done():
                yield here(left.popleft())
            else:
                judged = asked[0][1].result()
                asked.popleft()
                yield judged
    finally:
        pool.shutdown(cancel_futures=True)


_hands: list[tuple[TaskWorker[Any], Judge]] = []
"""Of a worker process: its worker and its judge; set once, by `_start`."""


def _start(order: Order) -> None:
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    programs = compile_order(order.policies, order.assignments, only_assigned=order.only_assigned)
    _hands.append((order.desk.open(), Evaluator(programs, order.as_of).judge))


def _do(task: Any) -> Judged:
    worker, judge = _hands[0]
    return worker.do(task, judge)
