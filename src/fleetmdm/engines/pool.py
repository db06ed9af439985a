"""Judging in several processes: each reads its own part of the store, one alone writes.

Processes are spawned, never forked: a connection to a database does not survive a fork.
Rule for editors: what a worker is given is values, and what it answers is taken in the order asked.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from multiprocessing import get_context
from typing import Any, Final

from fleetmdm.evaluate import Evaluator, compile_policies
from fleetmdm.evaluate.program import Program
from fleetmdm.governance.assign import Assignment
from fleetmdm.policy import CompliancePolicy
from fleetmdm.store.port import Judged, TaskDesk, TaskWorker
from fleetmdm.store.selections import load_selections

LEAST_TASKS: Final = 32
"""With fewer, a process more costs more than it saves."""
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
    """How many processes to start; 0 is to judge in this one. `wanted` is 0 for what pays."""
    if wanted:
        return min(wanted, MAX_WORKERS) if wanted > 1 else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MAX_WORKERS) if tasks >= LEAST_TASKS and (cores or 1) > 1 else 0


def judge_in_processes(order: Order, tasks: Sequence[Any], workers: int) -> Iterator[Judged]:
    """What comes of the tasks, in their order."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(order,))
    try:
        left = iter(tasks)
        asked: deque[Future[Judged]] = deque(
            pool.submit(_do, task) for task in islice(left, workers * AHEAD)
        )
        while asked:
            judged = asked.popleft().result()
            asked.extend(pool.submit(_do, task) for task in islice(left, 1))
            yield judged
    finally:
        pool.shutdown(cancel_futures=True)


_hands: list[tuple[TaskWorker[Any], Callable[[Any], Any]]] = []
"""Of a worker process: its worker and its judge; set once, by `_start`."""


def _start(order: Order) -> None:
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    programs = compile_order(order.policies, order.assignments, only_assigned=order.only_assigned)
    _hands.append((order.desk.open(), Evaluator(programs, order.as_of).judge))


def _do(task: Any) -> Judged:
    worker, judge = _hands[0]
    return worker.do(task, judge)
