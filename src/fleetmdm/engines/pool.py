"""Judging in several processes: each reads its own part of the store, one alone writes.

Processes are spawned, never forked: a connection to a database does not survive a fork.
Rule for editors: what a worker is given is values; what comes of a task does not depend on who did it,
nor on when.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from clikit.crew import MAX_WORKERS, Crew, spare_cores
from fleetmdm.evaluate import Evaluator, compile_policies
from fleetmdm.evaluate.program import Program
from fleetmdm.governance.assign import Assignment
from fleetmdm.policy import CompliancePolicy
from fleetmdm.store.port import Judge, Judged, TaskDesk, TaskWorker
from fleetmdm.store.selections import load_selections

_log: Final = logging.getLogger("fleetmdm.check")

LEAST_TASKS: Final = 10
"""With fewer, this process is done before another has begun."""


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
    return spare_cores() if tasks >= LEAST_TASKS else 0


def judge_together(
    order: Order, tasks: Sequence[Any], workers: int, here: Callable[[Any], Judged]
) -> Iterator[Judged]:
    """What comes of the tasks, in their order; `here` does one in this process."""
    with Crew(
        workers, here=here, there=_do, start=_start, given=(order,), killed=_tell_killed
    ) as crew:
        yield from crew.do(tasks)


def _tell_killed() -> None:
    _log.warning("a process that judged was killed; its part is judged by the others")


_hands: list[tuple[TaskWorker[Any], Judge]] = []
"""Of a worker process: its worker and its judge; set once, by `_start`."""


def _start(order: Order) -> None:
    programs = compile_order(order.policies, order.assignments, only_assigned=order.only_assigned)
    _hands.append((order.desk.open(), Evaluator(programs, order.as_of).judge))


def _do(task: Any) -> Judged:
    worker, judge = _hands[0]
    return worker.do(task, judge)
