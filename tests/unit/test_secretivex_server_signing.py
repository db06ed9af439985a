"""Whose turn it is to sign: batches, threads, time-outs, and requests that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from secretivex.engine import SignJob, SignOutcome
from secretivex.identity import Identity
from secretivex.key_table import TableEntry
from secretivex.peer import Peer
from secretivex.server.lanes.turn import Turn
from secretivex.server.state import ServerLimits
from secretivex.server.worker.signing import SigningQueue

PATIENCE_S = 60.0


class GatedKey:
    """Signs when the gate opens, and remembers how many were at it at once."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.gate = threading.Event()
        if is_open:
            self.gate.set()
        self.lock = threading.Lock()
        self.at_once = 0
        self.most_at_once = 0
        self.signed: list[bytes] = []

    def sign(self, data: bytes, _flags: int = 0) -> bytes:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(PATIENCE_S)
        with self.lock:
            self.at_once -= 1
            self.signed.append(data)
        if data == b"bad":
            raise ValueError("this key is broken")
        return data.upper()


class Owner:
    """A connection that takes replies."""

    peer = Peer(uid=0, gid=0)

    def __init__(self, caller: str = "me") -> None:
        self.caller = caller

    def fill(self, _turn: Turn, _frame: bytes) -> None:
        raise NotImplementedError


def job_of(key: GatedKey, data: bytes, *, is_cheap: bool) -> SignJob:
    entry = TableEntry(Identity(b"k", "", "", "file"), key, is_cheap, "", "")
    return SignJob(entry, data, 0, Peer(1, 1), 1)


class Bench:
    """A queue on a loop of its own, and what came out of it in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: ServerLimits) -> None:
        self.loop = loop
        self.outcomes: list[tuple[bytes, SignOutcome]] = []
        self.now = 100.0
        self.queue = SigningQueue(loop, limits, self.finish, lambda: self.now)

    def finish(self, turns: Sequence[Turn], *_times_ns: Sequence[int]) -> None:
        self.outcomes += [(turn.job.data, turn.outcome) for turn in turns]

    def submit(self, key: GatedKey, data: bytes, *, is_cheap: bool) -> Turn:
        turn = Turn(Owner(), self.now)
        self.queue.submit(job_of(key, data, is_cheap=is_cheap), turn)
        return turn

    async def finished(self, count: int) -> None:
        end = self.loop.time() + PATIENCE_S
        while len(self.outcomes) < count:
            assert self.loop.time() < end, self.outcomes
            await asyncio.sleep(0.001)


def test_cheap_signatures_are_made_on_the_loop_and_not_before_it_turns() -> None:
    async def story() -> None:
        bench = Bench(asyncio.get_running_loop(), ServerLimits())
        key = GatedKey()
        bench.submit(key, b"one", is_cheap=True)
        bench.submit(key, b"two", is_cheap=True)
        assert key.signed == []
        await bench.finished(2)
        assert bench.outcomes == [(b"one", b"ONE"), (b"two", b"TWO")]

    asyncio.run(story())


def test_a_storm_of_cheap_signatures_lets_the_loop_turn_in_between() -> None:
    async def story() -> None:
        clock = [0.0]

        class SlowClockKey(GatedKey):
            def sign(self, data: bytes, _flags: int = 0) -> bytes:
                clock[0] += 0.0003
                return super().sign(data)

        loop = asyncio.get_running_loop()
        outcomes: list[Turn] = []
        queue = SigningQueue(
            loop, ServerLimits(), lambda turns, *_: outcomes.extend(turns), lambda: clock[0]
        )
        for _ in range(10):
            queue.submit(job_of(SlowClockKey(), b"x", is_cheap=True), Turn(Owner()))
        seen = []
        while len(outcomes) < 10:
            await asyncio.sleep(0)
            seen.append(len(outcomes))
        assert seen[:3] == [2, 4, 6]

    asyncio.run(story())


def test_slow_signatures_hold_up_no_cheap_one_and_never_exceed_the_limit() -> None:
    async def story() -> None:
        limits = ServerLimits(workers=2, max_signers=4, max_blocking_threads=8)
        bench = Bench(asyncio.get_running_loop(), limits)
        slow, quick = GatedKey(is_open=False), GatedKey()
        for number in range(6):
            bench.submit(slow, b"slow %d" % number, is_cheap=False)
        bench.submit(quick, b"quick", is_cheap=True)
        await bench.finished(1)
        assert bench.outcomes == [(b"quick", b"QUICK")]
        slow.gate.set()
        await bench.finished(7)
        assert slow.most_at_once <= 2

    asyncio.run(story())


def test_a_request_that_waited_too_long_is_not_signed() -> None:
    async def story() -> None:
        limits = ServerLimits(max_signers=1, max_blocking_threads=1, sign_timeout_ms=20)
        bench = Bench(asyncio.get_running_loop(), limits)
        key = GatedKey(is_open=False)
        bench.submit(key, b"first", is_cheap=False)
        bench.submit(key, b"late", is_cheap=False)
        bench.now += 0.05
        key.gate.set()
        await bench.finished(2)
        assert bench.outcomes[1] == (b"late", "sign_timeout")
        assert key.signed == [b"first"]

    asyncio.run(story())


def test_a_request_that_nobody_waits_for_is_not_signed() -> None:
    async def story() -> None:
        bench = Bench(asyncio.get_running_loop(), ServerLimits())
        key = GatedKey()
        bench.submit(key, b"gone", is_cheap=True).is_dropped = True
        bench.submit(key, b"there", is_cheap=True)
        await bench.finished(1)
        assert key.signed == [b"there"]

    asyncio.run(story())


def test_a_key_that_fails_is_an_outcome() -> None:
    async def story() -> None:
        bench = Bench(asyncio.get_running_loop(), ServerLimits())
        for is_cheap in (True, False):
            bench.submit(GatedKey(), b"bad", is_cheap=is_cheap)
        await bench.finished(2)
        assert {outcome for _, outcome in bench.outcomes} == {"sign_failed_ValueError"}

    asyncio.run(story())


def test_memory_that_came_free_is_told_of_whoever_signed() -> None:
    async def story(*, is_cheap: bool) -> None:
        bench = Bench(asyncio.get_running_loop(), ServerLimits())
        told = asyncio.Event()
        bench.queue.batch_ended = told.set
        bench.submit(GatedKey(), b"one", is_cheap=is_cheap)
        assert bench.queue.memory.held_bytes > 0
        async with asyncio.timeout(30):
            await told.wait()
        assert bench.queue.memory.held_bytes == 0

    asyncio.run(story(is_cheap=True))
    asyncio.run(story(is_cheap=False))
