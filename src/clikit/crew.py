"""Tasks done by several processes, this one among them; answers come in the order of the tasks.

Processes are spawned, never forked: neither connections to databases nor threads survive a fork.
Each has lines of its own from and to this process and shares nothing with others: one that is killed
in the middle of an answer ends its lines and nothing else.
Rule for editors: what goes between processes is values; what comes of a task does not depend on who
did it; how much waits is bounded, however many tasks there are.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

MAX_WORKERS: Final = 16
AHEAD: Final = 4
"""Tasks for each worker that are asked for before the oldest is taken: bounds what waits."""
SWITCH_S: Final = 0.0005
"""How long who works keeps the interpreter from the threads that read and write its line, which ask
for it again at every read."""
PIPE_BYTES: Final = 1024 * 1024
"""Of a line between two processes, where the system lets it be so wide: as much as Linux lets anybody
have. Who asks must not wait until who works has a moment to read."""

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")


def spare_cores() -> int:
    """How many processes can work beside this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MAX_WORKERS) - 1


@dataclass(slots=True)
class _Place:
    """A task in its place among the others, and what came of it."""

    task: Any
    answer: Any = None
    is_there: bool = False
    is_lost: bool = False
    """Who was asked is gone, or failed."""


class Crew(Generic[_Task, _Answer]):
    """This process and `workers` more, which begin with `start(*given)` and do `there(task)`.

    This process does `here(task)` while it waits, from before the others have begun, and what they
    did not live to do or failed at: then what goes wrong is raised as it is. `killed` is told of each
    that is gone. All functions but `here` and `killed` are of modules.
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
        self._here, self._killed = here, killed
        count = min(workers, MAX_WORKERS)
        self._hands = [_Hand(there, start, given) for _ in range(count)]
        self._most = 2 * AHEAD * max(count, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hand in self._hands:
            hand.end()
        self._hands.clear()

    def do(self, tasks: Iterable[_Task]) -> Iterator[_Answer]:
        """The answers; tasks are taken as they are needed."""
        waiting: deque[_Place] = deque()
        for task in tasks:
            place = _Place(task)
            waiting.append(place)
            if not self._ask(place):
                place.answer, place.is_there = self._here(task), True
            self._collect(0)
            while waiting and (waiting[0].is_there or len(waiting) > self._most):
                yield self._take(waiting.popleft())
        while waiting:
            yield self._take(waiting.popleft())

    def _ask(self, place: _Place) -> bool:
        """Whether somebody else has room for a task."""
        begun = (each for each in self._hands if each.is_listening)
        hand = min(begun, key=lambda each: len(each.asked), default=None)
        if hand is None or len(hand.asked) >= AHEAD:
            return False
        hand.asked.append(place)
        try:
            hand.asking.send(place.task)
        except OSError:
            self._lose(hand)
        return True

    def _take(self, place: _Place) -> Any:
        while not (place.is_there or place.is_lost):
            self._collect(None)
        return place.answer if place.is_there else self._here(place.task)

    def _collect(self, timeout_s: float | None) -> None:
        """Take in the answers that have come."""
        if not self._hands:
            return
        ready = wait([hand.answering for hand in self._hands], timeout_s)
        for hand in [each for each in self._hands if each.answering in ready]:
            try:
                is_well, answer = hand.answering.recv()
            except (EOFError, OSError):
                self._lose(hand)
                continue
            if not hand.is_listening:
                hand.is_listening = is_well
                continue
            place = hand.asked.popleft()
            place.answer, place.is_there, place.is_lost = answer, is_well, not is_well

    def _lose(self, hand: _Hand) -> None:
        """Somebody killed a process, or memory ran out."""
        self._hands.remove(hand)
        hand.end()
        for place in hand.asked:
            place.is_lost = True
        self._killed()


class _Hand:
    """One other process, and what it was asked, oldest first."""

    def __init__(
        self, there: Callable[[Any], Any], start: Callable[..., object], given: tuple[Any, ...]
    ) -> None:
        tasks, self.asking = _pipe()
        self.answering, answers = _pipe()
        self.asked: deque[_Place] = deque()
        self.is_listening = False
        """It says so first: before, a large task would keep waiting whoever asks."""
        self._process = get_context("spawn").Process(
            target=_work, args=(tasks, answers, there, start, given), daemon=True
        )
        self._process.start()
        tasks.close()
        answers.close()

    def end(self) -> None:
        """Let the process go; what it was doing is not wanted any more."""
        self.asking.close()
        self.answering.close()
        self._process.terminate()
        self._process.join()


def _pipe() -> tuple[Connection, Connection]:
    """Where one reads, and where one writes."""
    reading, writing = get_context("spawn").Pipe(duplex=False)
    if sys.platform == "linux":
        from fcntl import F_SETPIPE_SZ, fcntl

        with suppress(OSError):
            fcntl(writing.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


def _work(
    tasks: Connection,
    answers: Connection,
    there: Callable[[Any], Any],
    start: Callable[..., object],
    given: tuple[Any, ...],
) -> None:
    """Of another process: do what is asked, until nobody asks."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_S)
    asked: SimpleQueue[Any] = SimpleQueue()
    told: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    # Somebody listens and somebody speaks at all times, so that nobody waits for the other.
    for move, line, queue in ((_listen, tasks, asked), (_speak, answers, told)):
        Thread(target=move, args=(line, queue), daemon=True).start()
    told.put((True, None))
    start(*given)
    while True:
        task = asked.get()
        try:
            told.put((True, there(task)))
        except Exception:  # noqa: BLE001 - whoever asked tries it, and raises it as it is
            told.put((False, None))


def _speak(line: Connection, told: SimpleQueue[tuple[bool, Any]]) -> None:
    while True:
        try:
            line.send(told.get())
        except OSError:
            os._exit(0)


def _listen(line: Connection, asked: SimpleQueue[Any]) -> None:
    try:
        while True:
            asked.put(line.recv())
    except Exception:  # noqa: BLE001 - the line is closed, or brings what cannot be read here
        # At once: what is being done is not wanted any more.
        os._exit(0)
