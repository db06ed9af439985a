"""Whose turn it is to sign: cheap signatures in short batches on the loop, slow ones in threads.

Queue wait runs from the moment a request was whole to the moment its signing starts, whatever
queues lie between. In each queue callers take turns, and the connections of a caller theirs. Rule
for editors: a job is dropped, failed or signed, and its turn always ends; nothing here waits while
it holds a slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from secretivex.engine import SignJob, SignOutcome
from secretivex.metrics.cells import HISTOGRAMS, Cells, Meter
from secretivex.metrics.per_store import StoreMeter
from secretivex.peer import Peer
from secretivex.server.lanes.lanes import Lanes
from secretivex.server.making import refuse, sign
from secretivex.server.sockets.watch import Watch
from secretivex.server.state import ServerLimits
from secretivex.server.worker.fair import FairQueue
from secretivex.stores.hosting.asking import Answer
from secretivex.stores.token.errors import TokenError

MAX_BATCH_S = 0.0005
"""Longest stretch of signatures on the loop before other connections are looked at again. It is
also how exactly the arrival of a request is known that came while the worker was signing."""

MAX_THREADS = 64
"""Threads of one worker; more of them only fight over the interpreter."""

JOB_BYTES = 1024
"""What a request in a queue costs beside its data: objects, not bytes of the client's."""
_WAIT, _SIGN = HISTOGRAMS.index("queue_wait"), HISTOGRAMS.index("sign")


class TurnOwner(Hashable, Protocol):
    """A connection, as its turns see it."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def caller(self) -> Hashable:
        """Whose connection it is: its process, where the system tells."""
        ...

    def fill(self, turn: Turn, frame: bytes) -> None:
        """The reply of a turn became known."""
        ...


class Turn:
    """One request's place in its connection's order of replies.

    `whole_s` is when the request was whole; `wait_s`, `begun_s` and `ended_s` how long a signature
    waited and when its making began and ended. `is_dropped` once its connection is gone. `kind` is the word for a change.
    While it waits for a signature it has its `job`, and `since_s` is when that began to wait.
    """

    __slots__ = (
        *("begun_s", "ended_s", "frame", "is_dropped", "job", "kind"),
        *("owner", "since_s", "wait_s", "whole_s"),
    )

    job: SignJob
    since_s: float

    def __init__(self, owner: TurnOwner, whole_s: float = 0.0) -> None:
        self.owner = owner
        self.whole_s = whole_s
        self.frame: bytes | None = None
        self.is_dropped = False
        self.kind = ""
        self.wait_s = self.begun_s = self.ended_s = 0.0


Finish = Callable[[SignJob, SignOutcome, Turn], None]


class SigningQueue:
    """The queues of one worker; on the loop, `finish` ends each job and `batch_ended` each batch."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ServerLimits,
        finish: Finish,
        clock: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._loop = loop
        # Not the loop's own: uvloop's stands still while a callback runs.
        self._clock = clock
        self._finish = finish
        self._meter = meter or Cells(1).meter(0)
        self._stores = StoreMeter(self._meter)
        self.batch_ended: Callable[[], None] = lambda: None
        self._inline: FairQueue[Turn] = FairQueue()
        self._pooled: FairQueue[Turn] = FairQueue()
        self._lanes = Lanes(loop, self._is_due_in_lane, self._end_lane, watch)
        self._batch_is_due = False
        self._in_threads = 0
        self._pool: ThreadPoolExecutor | None = None
        self.held_bytes = 0
        self.limit(limits)

    def limit(self, limits: ServerLimits) -> None:
        """Apply new limits; what is signing already goes on."""
        threads = limits.share_of(min(limits.max_blocking_threads, limits.max_signers))
        self._max_in_threads = min(threads, MAX_THREADS)
        self._timeout_s = limits.sign_timeout_ms / 1000

    def submit(self, job: SignJob, turn: Turn, since_s: float) -> None:
        """Queue a job whose request was whole, or allowed by a person, at `since_s`."""
        owner, entry = turn.owner, job.entry
        self.held_bytes += JOB_BYTES + len(job.data)
        turn.job, turn.since_s = job, since_s
        if entry.is_cheap:
            self._inline.push(owner.caller, owner, turn)
            if not self._batch_is_due:
                self._schedule_batch()
        elif entry.lane:
            self._lanes.submit(turn)
        else:
            self._pooled.push(owner.caller, owner, turn)
            self._fill_threads()

    def forget(self, owner: TurnOwner) -> None:
        """A connection is gone: what it waits for is not signed."""
        if not self.held_bytes:
            return
        for queue in (self._inline, self._pooled, self._lanes):
            if queue:
                for turn in queue.drop(owner.caller, owner):
                    self._let_go(turn)

    @property
    def waiting(self) -> int:
        """Jobs whose turn has not come."""
        return len(self._inline) + len(self._pooled) + len(self._lanes)

    @property
    def in_the_making(self) -> int:
        """Signatures that threads and stores make now."""
        return self._in_threads + self._lanes.making

    @property
    def is_behind(self) -> bool:
        """Whether the loop signs on, so that what arrives meanwhile is seen late."""
        return bool(self._inline)

    def _let_go(self, turn: Turn) -> None:
        self.held_bytes -= JOB_BYTES + len(turn.job.data)

    def _end_one(self, outcome: SignOutcome, turn: Turn) -> None:
        """A signature was made or failed."""
        self._let_go(turn)
        turn.ended_s = self._clock()
        self._finish(turn.job, outcome, turn)
        span_s = turn.ended_s - turn.since_s
        self._meter.observe(_SIGN, int(span_s * 1e9))
        failure = outcome if isinstance(outcome, str) else ""
        self._stores.note(turn.job.entry.identity.store, failure, int(span_s * 1e9))

    # Keys that sign where others must not wait for them.

    def _is_due_in_lane(self, turn: Turn) -> bool:
        wait_s = self._clock() - turn.since_s
        is_due = self._is_due(turn, wait_s)
        if not is_due:
            self._meter.observe(_WAIT, int(wait_s * 1e9))
        return is_due

    def _end_lane(self, turns: Sequence[Turn], results: Sequence[Answer | SignOutcome]) -> None:
        """A store's process says itself when it began a signature: until then it waited."""
        made: list[tuple[Turn, SignOutcome]] = []
        for turn, result in zip(turns, results, strict=True):
            turn.ended_s = self._clock()
            outcome = result.outcome if isinstance(result, Answer) else result
            if isinstance(outcome, TokenError):
                outcome = refuse(turn.job, outcome)
            elif isinstance(result, Answer):
                turn.begun_s, turn.ended_s = max(turn.since_s, result.begun_s), result.ended_s
                turn.wait_s = turn.begun_s - turn.since_s
            made.append((turn, outcome))
        self._meter.observe_all(_WAIT, [turn.wait_s for turn in turns])
        self._end_all(made)
        self.batch_ended()

    @property
    def has_busy_lanes(self) -> bool:
        """Whether a key in a token signs now."""
        return self._lanes.making > 0

    def close(self) -> None:
        """Give up what waits for a person: the worker is about to end."""
        self._lanes.close()

    # Cheap signatures, on the loop.

    def _schedule_batch(self) -> None:
        self._batch_is_due = True
        self._loop.call_soon(self._run_batch)

    def _run_batch(self) -> None:
        """Sign for a while, then let the loop look at its sockets.

        All is signed before any of it is finished: a signer's tables and the interpreter's own take
        turns in the caches of a core once a batch, not once a signature. Replies go out together.
        """
        self._batch_is_due = False
        queue, clock = self._inline, self._clock
        waits_s: list[float] = []
        made: list[tuple[Turn, SignOutcome]] = []
        now = clock()
        end = now + MAX_BATCH_S
        while queue and now < end:
            turn = queue.pop()
            wait_s = now - turn.since_s
            waits_s.append(wait_s)
            if self._is_due(turn, wait_s):
                outcome = sign(turn.job)
                now = turn.ended_s = clock()
                made.append((turn, outcome))
            else:
                now = clock()
        self._meter.observe_all(_WAIT, waits_s)
        self._end_all(made)
        if queue:
            self._schedule_batch()
        self.batch_ended()

    def _end_all(self, made: list[tuple[Turn, SignOutcome]]) -> None:
        """Finish a batch and count what came of it."""
        ended: list[tuple[str, SignOutcome, float]] = []
        for turn, outcome in made:
            job = turn.job
            self._let_go(turn)
            self._finish(job, outcome, turn)
            ended.append((job.entry.identity.store, outcome, turn.ended_s - turn.since_s))
        self._meter.observe_all(_SIGN, [span_s for _, _, span_s in ended])
        self._stores.note_all(ended)

    # Signatures that take long, in threads.

    def _fill_threads(self) -> None:
        while self._pooled and self._in_threads < self._max_in_threads:
            turn = self._pooled.pop()
            if not self._begins(turn, self._clock()):
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="signer")
            self._in_threads += 1
            future = self._pool.submit(sign, turn.job)
            future.add_done_callback(partial(self._hand_back, self._end_thread, turn))

    def _hand_back(
        self, end: Callable[[SignOutcome, Turn], None], turn: Turn, done: Future[SignOutcome]
    ) -> None:
        """Called in the thread that signed."""
        self._loop.call_soon_threadsafe(end, done.result(), turn)

    def _end_thread(self, outcome: SignOutcome, turn: Turn) -> None:
        self._in_threads -= 1
        self._end_one(outcome, turn)
        self._fill_threads()

    def _begins(self, turn: Turn, now: float) -> bool:
        """Whether a job is to be signed now: somebody wants it, and its time is not over."""
        wait_s = now - turn.since_s
        self._meter.observe(_WAIT, int(wait_s * 1e9))
        return self._is_due(turn, wait_s)

    def _is_due(self, turn: Turn, wait_s: float) -> bool:
        """The same of one that waited so long; ends it if not."""
        turn.wait_s, turn.begun_s = wait_s, turn.since_s + wait_s
        if turn.is_dropped:
            self._let_go(turn)
            return False
        if self._timeout_s and wait_s > self._timeout_s:
            self._let_go(turn)
            self._stores.note(turn.job.entry.identity.store, "sign_timeout", 0)
            self._finish(turn.job, "sign_timeout", turn)
            return False
        return True
