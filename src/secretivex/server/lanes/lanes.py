"""Lanes: keys that wait for each other and for no other key, since a token or a person may take long.

A key in a store's process is asked for without a thread; any other key of a lane has one of its own
and no signer's slot. Rule for editors: a lane never has more under way than it is wide, and what it
asks for at once is all for one key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from secretivex.engine import SignOutcome
from secretivex.server.lanes.calls import Call, Calls
from secretivex.server.lanes.turn import Turn
from secretivex.server.making import sign_patiently
from secretivex.server.sockets.watch import Watch
from secretivex.server.worker.fair import FairQueue
from secretivex.stores.hosting.asking import Answer
from secretivex.stores.hosting.endpoint import RemoteKey

MAX_LANES = 64
"""Signatures of all lanes that threads wait for at a time."""

MAX_AT_ONCE = 4
"""Signatures that a store is asked for in one request, when more than twice as many wait."""

MAX_AT_ONCE_S = 0.01
"""Longest that they may take, by those before: whoever comes meanwhile waits for their end."""

MAX_AT_ONCE_BYTES = 65536

Ended = Callable[[Sequence[Turn], Sequence[Answer | SignOutcome]], None]
"""Told of turns and what came of each: with its times where a store's process told them."""


class _Lane:
    """What waits for a key of one lane, and what it does."""

    __slots__ = ("alone", "at_work", "making", "queue", "span_s", "width")

    def __init__(self) -> None:
        self.queue: FairQueue[Turn] = FairQueue()
        self.alone: deque[Turn] = deque()
        """Asked for before, together with one over which the store's process may have ended."""
        self.width = 1
        self.at_work = 0
        """Requests and threads."""
        self.making = 0
        """The signatures in them."""
        self.span_s = MAX_AT_ONCE_S
        """How long one signature took last."""

    @property
    def is_wide_enough(self) -> bool:
        return self.at_work < self.width and bool(self.queue or self.alone)

    def empty(self) -> list[Turn]:
        """Take out what waits."""
        waiting = [*self.alone, *self.queue.take_all()]
        self.alone.clear()
        return waiting

    @property
    def at_once(self) -> int:
        """So many that those which wait keep the whole lane busy."""
        share = len(self.queue) // (2 * self.width)
        return max(1, min(MAX_AT_ONCE, share, int(MAX_AT_ONCE_S / self.span_s)))


class Lanes:
    """All lanes of one worker; on the loop, `is_due` says whether a turn is to be signed still."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        is_due: Callable[[Turn], bool],
        ended: Ended,
        watch: Watch | None = None,
    ) -> None:
        self._loop = loop
        self._is_due = is_due
        self._ended = ended
        self._watch = watch
        self._lanes: dict[str, _Lane] = {}
        self._calls: Calls | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False
        self._asked: set[Turn] = set()
        """What stores and persons were asked for."""

    def submit(self, turn: Turn) -> None:
        """Queue a turn whose key has a lane."""
        entry, owner = turn.job.entry, turn.owner
        lane = self._lanes.get(entry.lane)
        if lane is None:
            lane = self._lanes[entry.lane] = _Lane()
        lane.width = entry.lane_width
        lane.queue.push(owner.caller, owner, turn)
        self._fill(entry.lane, lane)

    def drop(self, caller: Hashable, owner: Hashable) -> tuple[Turn, ...]:
        """Forget what an owner waits for; answers it."""
        lanes = self._lanes.values()
        return tuple(turn for lane in lanes for turn in lane.queue.drop(caller, owner))

    def __len__(self) -> int:
        """Turns that are not begun."""
        return sum(len(lane.queue) + len(lane.alone) for lane in self._lanes.values())

    @property
    def making(self) -> int:
        """Signatures that stores or persons were asked for."""
        return sum(lane.making for lane in self._lanes.values())

    def abandon(self) -> list[Turn]:
        """Begin nothing more; what waits, and what was asked for."""
        self._is_closed = True
        waiting = [turn for lane in self._lanes.values() for turn in lane.empty()]
        return [*self._asked, *waiting]

    def close(self) -> None:
        """Give up what waits for a store or a person."""
        self._is_closed = True
        if self._calls is not None:
            self._calls.close()

    def _fill(self, name: str, lane: _Lane) -> None:
        while lane.is_wide_enough and not self._is_closed:
            turns = self._take(lane)
            if not turns:
                continue
            lane.at_work += 1
            lane.making += len(turns)
            self._asked.update(turns)
            key = turns[0].job.entry.key
            if isinstance(key, RemoteKey):
                self._ask(name, key, turns)
            else:
                self._sign_in_a_thread(name, turns[0])
        if not lane.at_work and not lane.queue and not lane.alone:
            del self._lanes[name]

    def _take(self, lane: _Lane) -> list[Turn]:
        """The next turns, all for one key and one kind of signature; few, or none that is due."""
        if lane.alone:
            turn = lane.alone.popleft()
            return [turn] if self._is_due(turn) else []
        most, queue = lane.at_once, lane.queue
        first = queue.pop()
        turns = [first] if self._is_due(first) else []
        job, size = first.job, len(first.job.data)
        is_remote = isinstance(job.entry.key, RemoteKey)
        while turns and is_remote and queue and len(turns) < most:
            other = queue.first().job
            size += len(other.data)
            if other.entry is not job.entry or other.flags != job.flags or size > MAX_AT_ONCE_BYTES:
                break
            turn = queue.pop()
            if self._is_due(turn):
                turns.append(turn)
        return turns

    def _end(self, name: str, lane: _Lane, signatures: int) -> None:
        """A request or a thread for some signatures is not under way any more."""
        lane.at_work -= 1
        lane.making -= signatures
        self._fill(name, lane)

    # Keys of a store's process.

    def _ask(self, name: str, key: RemoteKey, turns: list[Turn]) -> None:
        if self._calls is None:
            self._calls = Calls(self._loop, self._watch or Watch(self._loop))
        request = key.asking(turns[0].job.flags, [turn.job.data for turn in turns])
        is_wanted = partial(self._are_wanted, turns)
        ended = partial(self._end_call, name, turns)
        self._calls.begin(Call(key.address, request, len(turns), is_wanted, ended))

    def _are_wanted(self, turns: list[Turn]) -> bool:
        return not (self._is_closed or all(turn.is_dropped for turn in turns))

    def _end_call(self, name: str, turns: list[Turn], answers: tuple[Answer, ...] | None) -> None:
        lane = self._lanes[name]
        self._asked.difference_update(turns)
        if answers is None:
            lane.alone += turns
        else:
            last = answers[-1]
            lane.span_s = last.ended_s - last.begun_s or MAX_AT_ONCE_S
            self._ended(turns, answers)
        self._end(name, lane, len(turns))

    # Keys that wait for a person.

    def _sign_in_a_thread(self, name: str, turn: Turn) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MAX_LANES, thread_name_prefix="token")
        future = self._pool.submit(sign_patiently, turn.job, lambda: self._are_wanted([turn]))
        future.add_done_callback(partial(self._hand_back, name, turn))

    def _hand_back(self, name: str, turn: Turn, done: Future[SignOutcome]) -> None:
        """Called in the thread that signed."""
        self._loop.call_soon_threadsafe(self._end_thread, name, turn, done.result())

    def _end_thread(self, name: str, turn: Turn, outcome: SignOutcome) -> None:
        self._asked.discard(turn)
        self._ended([turn], [outcome])
        self._end(name, self._lanes[name], 1)
