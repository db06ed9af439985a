"""Whose turn it is to sign: cheap signatures in short batches on the loop, slow ones in threads.

Queue wait runs from the moment a request was whole to the moment its signing starts, whatever
queues lie between. In each queue callers take turns, and the connections of a caller theirs. Rule
for editors: a job is dropped, failed or signed, and its turn always ends; nothing here waits while
it holds a slot.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from secretivex.engine import SignJob, SignOutcome
from secretivex.metrics.cells import HISTOGRAMS, Cells, Meter
from secretivex.metrics.per_store import StoreMeter
from secretivex.server.lanes.lanes import Lanes
from secretivex.server.lanes.turn import GONE, Turn, TurnOwner
from secretivex.server.making import refuse, sign
from secretivex.server.sockets.memory import Memory
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


Finish = Callable[[Sequence[Turn], Sequence[int], Sequence[int]], None]
"""Takes turns that ended; how long each waited, and how long it took with that wait, in nanoseconds."""


def _finish_none(_turns: Sequence[Turn], _waits: Sequence[int], _spans: Sequence[int]) -> None:
    """Whoever would answer is about to end."""


class SigningQueue:
    """The queues of one worker; on the loop, `finish` answers what was signed together.

    `batch_ended` is called when signatures were made or given up, so that memory came free.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ServerLimits,
        finish: Finish,
        clock: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
        watch: Watch | None = None,
        memory: Memory | None = None,
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
        self._lanes = Lanes(loop, self._is_due, self._end_lane, watch)
        self._batch_is_due = False
        self._in_threads: set[Turn] = set()
        self._pool: ThreadPoolExecutor | None = None
        self.memory = memory or Memory(self._meter)
        self.limit(limits)

    def limit(self, limits: ServerLimits) -> None:
        """Apply new limits; what is signing already goes on."""
        threads = limits.share_of(min(limits.max_blocking_threads, limits.max_signers))
        self._max_in_threads = min(threads, MAX_THREADS)
        self._timeout_s = limits.sign_timeout_ms / 1000 or math.inf

    def submit(self, job: SignJob, turn: Turn) -> None:
        """Queue a job for a turn that waits since its `since_s`."""
        owner, entry = turn.owner, job.entry
        self.memory.held_bytes += JOB_BYTES + len(job.data)
        turn.job = job
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
        if not self.memory.held_bytes:
            return
        for queue in (self._inline, self._pooled, self._lanes):
            if queue:
                for turn in queue.drop(owner.caller, owner):
                    self._let_go(turn)
                    self._end_unsigned(turn, GONE)

    @property
    def waiting(self) -> int:
        """Jobs whose turn has not come."""
        return len(self._inline) + len(self._pooled) + len(self._lanes)

    @property
    def in_the_making(self) -> int:
        """Signatures that threads and stores make now."""
        return len(self._in_threads) + self._lanes.making

    @property
    def is_behind(self) -> bool:
        """Whether the loop signs on, so that what arrives meanwhile is seen late."""
        return bool(self._inline)

    def _let_go(self, turn: Turn) -> None:
        self.memory.held_bytes -= JOB_BYTES + len(turn.job.data)

    def _end(self, turns: Sequence[Turn]) -> None:
        """Signatures were made or failed: have them answered, and count what came of them."""
        waits_ns: list[int] = []
        spans_ns: list[int] = []
        made: defaultdict[str, list[int]] = defaultdict(list)
        held_bytes = 0
        for turn in turns:
            job, span_ns = turn.job, int((turn.ended_s - turn.since_s) * 1e9)
            held_bytes += JOB_BYTES + len(job.data)
            waits_ns.append(int(turn.wait_s * 1e9))
            spans_ns.append(span_ns)
            store = job.entry.identity.store
            if isinstance(turn.outcome, str):
                self._stores.note(store, turn.outcome)
            else:
                made[store].append(span_ns)
        self.memory.held_bytes -= held_bytes
        self._meter.observe_all(_WAIT, waits_ns)
        self._meter.observe_all(_SIGN, spans_ns)
        for store, durations_ns in made.items():
            self._stores.note_made(store, durations_ns)
        self._finish(turns, waits_ns, spans_ns)

    # Keys that sign where others must not wait for them.

    def _end_lane(self, turns: Sequence[Turn], results: Sequence[Answer | SignOutcome]) -> None:
        """A store's process says itself when it began a signature: until then it waited."""
        for turn, result in zip(turns, results, strict=True):
            turn.ended_s = self._clock()
            outcome = result.outcome if isinstance(result, Answer) else result
            if isinstance(outcome, TokenError):
                outcome = refuse(turn.job, outcome)
            elif isinstance(result, Answer):
                turn.begun_s, turn.ended_s = max(turn.since_s, result.begun_s), result.ended_s
                turn.wait_s = turn.begun_s - turn.since_s
            turn.outcome = outcome
        self._end(turns)
        self.batch_ended()

    @property
    def has_busy_lanes(self) -> bool:
        """Whether a key in a token signs now."""
        return self._lanes.making > 0

    def abandon(self) -> list[Turn]:
        """Finish nothing more, for the worker is about to end; what was not finished."""
        self._finish = _finish_none
        left = [*self._inline.take_all(), *self._pooled.take_all(), *self._in_threads]
        left += self._lanes.abandon()
        self._lanes.close()
        return left

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
        queue, clock, timeout_s = self._inline, self._clock, self._timeout_s
        made: list[Turn] = []
        now = clock()
        end = now + MAX_BATCH_S
        while queue.size and now < end:
            turn = queue.pop()
            turn.begun_s = now
            turn.wait_s = wait_s = now - turn.since_s
            if turn.is_dropped or wait_s > timeout_s:
                self._give_up(turn)
                now = clock()
            else:
                turn.outcome = sign(turn.job)
                now = turn.ended_s = clock()
                made.append(turn)
        self._end(made)
        if queue.size:
            self._schedule_batch()
        self.batch_ended()

    # Signatures that take long, in threads.

    def _fill_threads(self) -> None:
        while self._pooled and len(self._in_threads) < self._max_in_threads:
            turn = self._pooled.pop()
            if not self._is_due(turn):
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="signer")
            self._in_threads.add(turn)
            future = self._pool.submit(sign, turn.job)
            future.add_done_callback(partial(self._hand_back, self._end_thread, turn))

    def _hand_back(
        self, end: Callable[[SignOutcome, Turn], None], turn: Turn, done: Future[SignOutcome]
    ) -> None:
        """Called in the thread that signed."""
        self._loop.call_soon_threadsafe(end, done.result(), turn)

    def _end_thread(self, outcome: SignOutcome, turn: Turn) -> None:
        self._in_threads.discard(turn)
        turn.outcome, turn.ended_s = outcome, self._clock()
        self._end((turn,))
        self._fill_threads()
        self.batch_ended()

    def _is_due(self, turn: Turn) -> bool:
        """Whether a job is to be signed now: somebody wants it, and it is not late. Ends it if not."""
        turn.begun_s = self._clock()
        turn.wait_s = turn.begun_s - turn.since_s
        if turn.is_dropped or turn.wait_s > self._timeout_s:
            self._give_up(turn)
            return False
        return True

    def _give_up(self, turn: Turn) -> None:
        """Nobody wants a signature any more, or it comes too late."""
        self._let_go(turn)
        self._meter.observe(_WAIT, int(turn.wait_s * 1e9))
        self._end_unsigned(turn, GONE if turn.is_dropped else "sign_timeout")

    def _end_unsigned(self, turn: Turn, outcome: str) -> None:
        self._stores.note(turn.job.entry.identity.store, outcome)
        turn.outcome = outcome
        self._finish((turn,), (0,), (0,))
