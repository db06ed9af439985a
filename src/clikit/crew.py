"""Tasks done by several processes, this one among them; answers come in the order of the tasks.

Processes are spawned, never forked: neither connections to databases nor threads survive a fork.
Rule for editors: what goes between processes is values; what comes of a task does not depend on who
did it; how much waits is bounded, however many tasks there are.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

MAX_WORKERS: Final = 16
AHEAD: Final = 4
"""Tasks for each worker that are asked for before the oldest is taken: bounds what waits."""

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")
_Waiting = deque[tuple[_Task, Future[_Answer]]]


def spare_cores() -> int:
    """How many processes can work beside this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MAX_WORKERS) - 1


class Crew(Generic[_Task, _Answer]):
    """This process and `workers` more, which begin with `start(*given)` and do `there(task)`.

    This process does `here(task)` while it waits, and goes on alone if one of the others is killed;
    `killed` is told. All functions but `here` and `killed` are of modules.
    """

    def __init__(
        self,
        workers: int,
        *,
        here: Callable[[_Task], _Answer],
        there: Callable[[_Task], _Answer],
        start: Callable[..., object],
        given: tuple[Any, ...] = (),
        killed: Callable[[], None] = lambda: None,
    ) -> None:
        self._workers = min(workers, MAX_WORKERS)
        self._here, self._there, self._killed = here, there, killed
        self._pool: ProcessPoolExecutor | None = None
        if self._workers > 0:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._workers, context, initializer=_start, initargs=(start, given)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def do(self, tasks: Iterable[_Task]) -> Iterator[_Answer]:
        """The answers; tasks are taken as they are needed."""
        left = iter(tasks)
        if self._pool is not None:
            waiting: _Waiting[_Task, _Answer] = deque()
            try:
                yield from self._share(self._pool, left, waiting)
            except BrokenProcessPool:
                # Somebody killed a worker, or memory ran out.
                self._pool = None
                self._killed()
                for task, answer in waiting:
                    is_there = answer.done() and answer.exception() is None
                    yield answer.result() if is_there else self._here(task)
        yield from map(self._here, left)

    def _share(
        self,
        pool: ProcessPoolExecutor,
        left: Iterator[_Task],
        waiting: _Waiting[_Task, _Answer],
    ) -> Iterator[_Answer]:
        """Ask others while there is room, and work here while the oldest answer is not there."""
        most = self._workers * AHEAD
        for task in left:
            if sum(not answer.done() for _, answer in waiting) < most:
                waiting.append((task, Future()))
                # A task stays among those that wait if the pool turns out to be broken.
                waiting[-1] = (task, pool.submit(self._there, task))
            else:
                done: Future[_Answer] = Future()
                done.set_result(self._here(task))
                waiting.append((task, done))
            while waiting and (waiting[0][1].done() or len(waiting) > 2 * most):
                yield _oldest(waiting)
        while waiting:
            yield _oldest(waiting)


def _oldest(waiting: _Waiting[Any, _Answer]) -> _Answer:
    """Wait for the oldest answer; its task is let go once it is there."""
    wait([waiting[0][1]])
    answer = waiting[0][1].result()
    waiting.popleft()
    return answer


def _start(start: Callable[..., object], given: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start(*given)
