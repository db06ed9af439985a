"""Whose turn it is to sign: cheap signatures in short batches on the loop, slow ones in threads.

Queue wait runs from the moment a request was whole to the moment its signing starts, whatever
queues lie between. Rule for editors: a job is dropped, failed or signed, and its turn always ends;
nothing here waits while it holds a slot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from secretivex.engine import SignJob, SignOutcome
from secretivex.identity import PatientKey
from secretivex.peer import Peer
from secretivex.server.state import ServerLimits
from secretivex.stores.token.errors import TokenError

LOG = logging.getLogger("secretivex.stores")

MAX_BATCH_S = 0.002
"""Longest stretch of signatures on the loop before other connections are looked at again."""

MAX_LANES = 16
"""Lanes that sign at a time."""

MAX_THREADS = 64
"""Threads of one worker; more of them only fight over the interpreter."""


CROWD = 256
"""Length of a queue at which it is looked through for what nobody waits for any more."""


class TurnOwner(Protocol):
    """A connection, as its turns see it."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    def fill(self, turn: Turn, frame: bytes) -> None:
        """The reply of a turn became known."""
        ...


class Turn:
    """One request's place in its connection's order of replies.

    `is_dropped` once its connection is gone; not frozen, for the reply comes later.
    """

    __slots__ = ("frame", "is_dropped", "owner")

    def __init__(self, owner: TurnOwner) -> None:
        self.owner = owner
        self.frame: bytes | None = None
        self.is_dropped = False


class _Waiting(NamedTuple):
    job: SignJob
    turn: Turn
    arrived_s: float


Waiting = TypeVar("Waiting")


def forget_dropped(queue: deque[Waiting], turn_of: Callable[[Waiting], Turn]) -> None:
    """Make a long queue as short as it can be: clients that hang up must not fill memory."""
    if len(queue) >= CROWD and len(queue) % CROWD == 0:
        live = [waiting for waiting in queue if not turn_of(waiting).is_dropped]
        queue.clear()
        queue.extend(live)


def _put(queue: deque[_Waiting], waiting: _Waiting) -> None:
    forget_dropped(queue, turn_of=lambda one: one.turn)
    queue.append(waiting)


Finish = Callable[[SignJob, SignOutcome, Turn], None]


class SigningQueue:
    """The two queues of one worker. `finish` is called on the loop, once for each job."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ServerLimits,
        finish: Finish,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        # Not the loop's own: uvloop's stands still while a callback runs.
        self._clock = clock
        self._finish = finish
        self._inline: deque[_Waiting] = deque()
        self._pooled: deque[_Waiting] = deque()
        self._batch_is_due = False
        self._in_threads = 0
        self._pool: ThreadPoolExecutor | None = None
        self._lanes: dict[str, deque[_Waiting]] = {}
        self._busy_lanes: set[str] = set()
        self._lane_pool: ThreadPoolExecutor | None = None
        self._is_closed = False
        self.limit(limits)

    def limit(self, limits: ServerLimits) -> None:
        """Apply new limits; what is signing already goes on."""
        threads = limits.share_of(min(limits.max_blocking_threads, limits.max_signers))
        self._max_in_threads = min(threads, MAX_THREADS)
        self._timeout_s = limits.sign_timeout_ms / 1000

    def submit(self, job: SignJob, turn: Turn) -> None:
        """Queue a job whose request became whole now."""
        waiting = _Waiting(job, turn, self._clock())
        if job.entry.lane:
            _put(self._lanes.setdefault(job.entry.lane, deque()), waiting)
            self._fill_lane(job.entry.lane)
        elif job.entry.is_cheap:
            _put(self._inline, waiting)
            self._schedule_batch()
        else:
            _put(self._pooled, waiting)
            self._fill_threads()

    def _fill_lane(self, lane: str) -> None:
        """One signature of a lane at a time; it may wait for a person, so it holds no signer's slot."""
        queue = self._lanes[lane]
        while queue and lane not in self._busy_lanes:
            waiting = queue.popleft()
            if self._is_dead(waiting):
                continue
            self._busy_lanes.add(lane)
            if self._lane_pool is None:
                self._lane_pool = ThreadPoolExecutor(MAX_LANES, thread_name_prefix="token")
            is_wanted = partial(self._is_wanted, waiting.turn)
            future = self._lane_pool.submit(sign_patiently, waiting.job, is_wanted)
            future.add_done_callback(
                lambda done, waiting=waiting: self._loop.call_soon_threadsafe(  # type: ignore[misc] # mypy cannot infer a lambda with a default
                    self._end_lane, done.result(), waiting
                )
            )

    def _is_wanted(self, turn: Turn) -> bool:
        """Asked in the thread that signs."""
        return not (turn.is_dropped or self._is_closed)

    @property
    def has_busy_lanes(self) -> bool:
        """Whether a key in a token signs now."""
        return bool(self._busy_lanes)

    def close(self) -> None:
        """Give up what waits for a person: the worker is about to end."""
        self._is_closed = True

    def _end_lane(self, outcome: SignOutcome, waiting: _Waiting) -> None:
        self._busy_lanes.discard(waiting.job.entry.lane)
        self._finish(waiting.job, outcome, waiting.turn)
        self._fill_lane(waiting.job.entry.lane)
        if waiting.job.entry.lane not in self._busy_lanes:
            self._lanes.pop(waiting.job.entry.lane, None)

    def _schedule_batch(self) -> None:
        if not self._batch_is_due:
            self._batch_is_due = True
            self._loop.call_soon(self._run_batch)

    def _run_batch(self) -> None:
        """Sign for a while, then let the loop look at its sockets."""
        self._batch_is_due = False
        end = self._clock() + MAX_BATCH_S
        while self._inline:
            waiting = self._inline.popleft()
            if not self._is_dead(waiting):
                self._finish(waiting.job, sign(waiting.job), waiting.turn)
            if self._clock() >= end:
                break
        if self._inline:
            self._schedule_batch()

    def _fill_threads(self) -> None:
        while self._pooled and self._in_threads < self._max_in_threads:
            waiting = self._pooled.popleft()
            if self._is_dead(waiting):
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="signer")
            self._in_threads += 1
            future = self._pool.submit(sign, waiting.job)
            future.add_done_callback(lambda done, waiting=waiting: self._hand_back(done, waiting))  # type: ignore[misc] # mypy cannot infer a lambda with a default

    def _hand_back(self, done: Future[SignOutcome], waiting: _Waiting) -> None:
        """Called in the thread that signed."""
        self._loop.call_soon_threadsafe(self._end, done.result(), waiting)

    def _end(self, outcome: SignOutcome, waiting: _Waiting) -> None:
        self._in_threads -= 1
        self._finish(waiting.job, outcome, waiting.turn)
        self._fill_threads()

    def _is_dead(self, waiting: _Waiting) -> bool:
        """Whether nobody wants the signature any more, or its time is over."""
        if waiting.turn.is_dropped:
            return True
        if self._timeout_s and self._clock() - waiting.arrived_s > self._timeout_s:
            self._finish(waiting.job, SignOutcome(None, "sign_timeout"), waiting.turn)
            return True
        return False


def sign_patiently(job: SignJob, is_wanted: Callable[[], bool]) -> SignOutcome:
    """The same for a key in a token, which may wait for a person; given up when nobody wants it."""
    key = job.entry.key
    try:
        if isinstance(key, PatientKey):
            return SignOutcome(key.sign_while(is_wanted, job.data, job.flags))
        return SignOutcome(key.sign(job.data, job.flags))
    except TokenError as error:
        fields = {"reason": error.reason, "detail": str(error), "key": job.entry.sha256}
        LOG.warning("a token would not sign", extra={"fields": fields})
        return SignOutcome(None, error.reason)
    except Exception as error:  # noqa: BLE001 - as in `sign`
        return SignOutcome(None, f"sign_failed_{type(error).__name__}")


def sign(job: SignJob) -> SignOutcome:
    """Make the signature; whatever goes wrong is an outcome."""
    try:
        return SignOutcome(job.entry.key.sign(job.data, job.flags))
    except Exception as error:  # noqa: BLE001 - one key's failure is one FAILURE frame
        return SignOutcome(None, f"sign_failed_{type(error).__name__}")
