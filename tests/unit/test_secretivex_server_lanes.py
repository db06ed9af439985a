"""Keys in stores' processes: asked over sockets of the loop, several at once, whatever becomes of them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretivex.engine import SignJob, SignOutcome
from secretivex.identity import Identity
from secretivex.key_table import TableEntry
from secretivex.peer import Peer
from secretivex.server.lanes import lanes
from secretivex.server.lanes.turn import Turn
from secretivex.server.state import ServerLimits
from secretivex.server.worker.signing import SigningQueue
from secretivex.stores.hosting.asking import (
    MAX_AT_ONCE,
    Answer,
    TryAgainError,
    answer_asking,
    cut_message,
    encode_asking,
    encode_opening,
    one_by_one,
    parse_answers,
)
from secretivex.stores.hosting.endpoint import (
    RETRIES,
    RemoteKey,
    open_endpoint,
    serve_all,
)
from secretivex.stores.token.errors import TokenError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key
from sshwire.wire import encode_string, encode_text

KEY = encode_text("ssh-ed25519") + encode_string(bytes(range(32)))
OTHER = encode_text("ssh-ed25519") + encode_string(bytes(32))
PASSWORD = b"word"
PATIENCE_S = 60.0


class Store:
    """A store's process as a thread. `gate` holds it up, `ends_over` are data that it ends over."""

    def __init__(self) -> None:
        self.endpoint = open_endpoint()
        self.endpoint.listener.setblocking(True)
        self.gate = threading.Event()
        self.gate.set()
        self.took_s = 0.0001
        self.asked: list[tuple[bytes, ...]] = []
        self.ends_over: set[bytes] = set()
        self.loses_token_over: list[bytes] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.endpoint.listener.accept()
            if self._is_over:
                connection.close()
                return
            try:
                serve_all(connection, self.endpoint.password, self._sign_all)
            except (EOFError, TryAgainError):
                continue

    def _sign_all(self, key: PublicKey, data: Sequence[bytes], flags: int) -> Sequence[Answer]:
        self.asked.append(tuple(data))
        assert self.gate.wait(PATIENCE_S)
        now = time.monotonic()
        answers = one_by_one(self._sign)(key, data, flags)
        # What a signature takes is the test's to say: a busy machine says anything.
        return [answer._replace(begun_s=now, ended_s=now + self.took_s) for answer in answers]

    def _sign(self, _key: PublicKey, data: bytes, _flags: int) -> bytes:
        if data in self.ends_over:
            raise EOFError
        if data in self.loses_token_over:
            self.loses_token_over.remove(data)
            raise TryAgainError
        if data == b"refused":
            raise TokenError("token_refused", "it would not")
        return data.upper()

    def close(self) -> None:
        self._is_over = True
        self.gate.set()
        with self._knock():
            self._thread.join(PATIENCE_S)
        self.endpoint.close()

    @contextmanager
    def _knock(self) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(self.endpoint.address)
            yield


class Owner:
    """A connection that takes replies."""

    peer = Peer(uid=0, gid=0)

    def __init__(self, caller: str = "me") -> None:
        self.caller = caller

    def fill(self, _turn: Turn, _frame: bytes) -> None:
        raise NotImplementedError


class Bench:
    """A queue on a loop of its own before a store, and what came out of it in order."""

    def __init__(self, store: Store, width: int, limits: ServerLimits) -> None:
        self.store = store
        self.width = width
        self.loop = asyncio.get_running_loop()
        self.outcomes: dict[bytes, SignOutcome] = {}
        self.turns: dict[bytes, Turn] = {}
        self.later_s = 0.0
        self.queue = SigningQueue(self.loop, limits, self._finish, self._clock)
        self._entries: dict[bytes, TableEntry] = {}

    def _clock(self) -> float:
        return time.monotonic() + self.later_s

    def _finish(self, turns: Sequence[Turn], *_times_ns: Sequence[int]) -> None:
        for turn in turns:
            assert turn.job.data not in self.outcomes
            self.outcomes[turn.job.data] = turn.outcome

    def submit(self, data: bytes, *, key: bytes = KEY, owner: Owner | None = None) -> Turn:
        if key not in self._entries:
            remote = RemoteKey(self.store.endpoint.signer(self.width), key)
            identity = Identity(key, "", "ssh-ed25519", "store")
            self._entries[key] = TableEntry(
                identity, remote, False, "", "", lane=remote.lane, lane_width=self.width
            )
        turn = self.turns[data] = Turn(owner or Owner(), self._clock())
        self.queue.submit(SignJob(self._entries[key], data, 0, Peer(1, 1), 1), turn)
        return turn

    async def until(self, is_so: Callable[[], object]) -> None:
        end = self.loop.time() + PATIENCE_S
        while not is_so():
            assert self.loop.time() < end, (self.outcomes, self.store.asked)
            await asyncio.sleep(0.001)

    async def finished(self, count: int) -> None:
        await self.until(lambda: len(self.outcomes) >= count)


def tell(story: Callable[[Bench], Awaitable[None]], width: int = 1, timeout_ms: int = 0) -> None:
    """Run a story with a store and a queue before it."""

    async def run() -> None:
        limits = ServerLimits(sign_timeout_ms=timeout_ms)
        await story(Bench(store, width, limits))

    store = Store()
    try:
        asyncio.run(run())
    finally:
        store.close()


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def words(count: int) -> list[bytes]:
    return [b"w%d" % number for number in range(count)]


def test_no_thread_waits_for_a_store() -> None:
    async def story(bench: Bench) -> None:
        before = set(threading.enumerate())
        bench.store.gate.clear()
        for word in words(3):
            bench.submit(word)
        await bench.until(lambda: bench.store.asked)
        assert set(threading.enumerate()) <= before
        assert (bench.queue.in_the_making, bench.queue.waiting) == (1, 2)
        bench.store.gate.set()
        await bench.finished(3)
        assert bench.outcomes == {word: word.upper() for word in words(3)}
        assert (bench.queue.in_the_making, bench.queue.waiting) == (0, 0)
        assert bench.queue.memory.held_bytes == 0

    tell(story)


def test_a_lane_is_no_wider_than_it_should_be_and_many_are_asked_for_at_once() -> None:
    async def story(bench: Bench) -> None:
        bench.submit(b"first")
        await bench.finished(1)
        bench.store.gate.clear()
        for word in words(40):
            bench.submit(word)
        await bench.until(lambda: len(bench.store.asked) > 1)
        assert bench.queue.in_the_making == 2, "nobody knows yet how long one takes"
        bench.store.gate.set()
        await bench.finished(41)
        sizes = [len(asked) for asked in bench.store.asked]
        assert max(sizes) == lanes.MAX_AT_ONCE
        assert sizes[-2:] == [1, 1], "the last ones keep every process busy"
        assert [one for asked in bench.store.asked for one in asked] == [b"first", *words(40)]

    tell(story, width=2)


def test_what_is_asked_for_at_once_is_for_one_key() -> None:
    async def story(bench: Bench) -> None:
        bench.store.gate.clear()
        for number, word in enumerate(words(24)):
            bench.submit(word, key=KEY if number < 12 else OTHER)
        await bench.until(lambda: bench.store.asked)
        bench.store.gate.set()
        await bench.finished(24)
        firsts, lasts = set(words(24)[:12]), set(words(24)[12:])
        assert all(set(asked) <= firsts or set(asked) <= lasts for asked in bench.store.asked)

    tell(story)


def test_a_store_that_takes_long_is_asked_for_one_at_a_time() -> None:
    async def story(bench: Bench) -> None:
        bench.store.took_s = 2 * lanes.MAX_AT_ONCE_S
        for word in words(30):
            bench.submit(word)
        await bench.finished(30)
        assert [len(asked) for asked in bench.store.asked] == [1] * 30

    tell(story)


def test_one_refusal_is_no_other_ones() -> None:
    async def story(bench: Bench) -> None:
        data = [*words(20), b"refused", *(word + b"x" for word in words(20))]
        for word in data:
            bench.submit(word)
        await bench.finished(41)
        assert bench.outcomes.pop(b"refused") == "token_refused"
        assert all(outcome == word.upper() for word, outcome in bench.outcomes.items())

    tell(story)


def test_a_process_that_ends_over_one_fails_that_one_alone() -> None:
    async def story(bench: Bench) -> None:
        bench.store.ends_over.add(b"poison")
        for word in (*words(20), b"poison", *(word + b"x" for word in words(20))):
            bench.submit(word)
        await bench.finished(41)
        assert bench.outcomes.pop(b"poison") == "store_crashed"
        assert all(outcome == word.upper() for word, outcome in bench.outcomes.items())
        alone = bench.store.asked.count((b"poison",))
        assert RETRIES <= alone <= RETRIES + 1

    tell(story)


def test_a_process_that_lost_its_token_is_followed_by_another() -> None:
    async def story(bench: Bench) -> None:
        bench.store.loses_token_over += [b"w3", b"w17", b"w17"]
        for word in words(30):
            bench.submit(word)
        await bench.finished(30)
        assert all(outcome == word.upper() for word, outcome in bench.outcomes.items())

    tell(story, width=2)


def test_a_store_that_is_gone_is_asked_a_few_times_and_no_more() -> None:
    async def story(bench: Bench) -> None:
        remote = RemoteKey(bench.store.endpoint.signer(1), KEY)
        remote.address = "/nonexistent/store.sock"
        identity = Identity(KEY, "", "ssh-ed25519", "store")
        entry = TableEntry(identity, remote, False, "", "", lane="gone")
        for word in words(5):
            bench.queue.submit(SignJob(entry, word, 0, Peer(1, 1), 1), Turn(Owner()))
        await bench.finished(5)
        assert set(bench.outcomes.values()) == {"store_crashed"}

    tell(story)


def test_a_client_that_goes_is_not_waited_for() -> None:
    async def story(bench: Bench) -> None:
        bench.store.gate.clear()
        owner = Owner()
        gone = bench.submit(b"gone", owner=owner)
        bench.submit(b"queued", owner=owner)
        bench.submit(b"stays", owner=Owner("another"))
        await bench.until(lambda: bench.store.asked)
        gone.is_dropped = bench.turns[b"queued"].is_dropped = True
        bench.queue.forget(owner)
        await bench.finished(2)
        assert bench.outcomes == {b"queued": "client_gone", b"gone": "no_longer_wanted"}
        bench.store.gate.set()
        await bench.finished(3)
        assert bench.outcomes[b"stays"] == b"STAYS"
        assert bench.queue.memory.held_bytes == 0

    tell(story)


def test_what_waited_too_long_is_not_asked_for() -> None:
    async def story(bench: Bench) -> None:
        bench.store.gate.clear()
        for word in words(6):
            bench.submit(word)
        await bench.until(lambda: bench.store.asked)
        bench.later_s = 2 * PATIENCE_S
        bench.store.gate.set()
        await bench.finished(6)
        assert bench.outcomes.pop(b"w0") == b"W0"
        assert set(bench.outcomes.values()) == {"sign_timeout"}
        assert bench.store.asked == [(b"w0",)]

    tell(story, timeout_ms=int(PATIENCE_S * 1000))


def test_a_request_waits_until_the_store_begins() -> None:
    async def story(bench: Bench) -> None:
        bench.store.gate.clear()
        turn = bench.submit(b"w")
        await bench.until(lambda: bench.store.asked)
        opened_s = time.monotonic()
        bench.store.gate.set()
        await bench.finished(1)
        assert turn.begun_s >= opened_s
        assert turn.wait_s == turn.begun_s - turn.since_s
        assert turn.ended_s - turn.begun_s == pytest.approx(bench.store.took_s, abs=1e-6)

    tell(story)


def test_a_request_that_no_socket_takes_at_once_arrives_whole() -> None:
    async def story(bench: Bench) -> None:
        large = b"a" * 250_000
        bench.store.gate.clear()
        for number in range(3):
            bench.submit(b"%d" % number + large)
        await bench.until(lambda: bench.store.asked)
        bench.store.gate.set()
        await bench.finished(3)
        assert bench.outcomes[b"0" + large] == b"0" + large.upper()

    tell(story, width=3)


def test_an_end_gives_up_what_is_under_way() -> None:
    async def story(bench: Bench) -> None:
        bench.store.gate.clear()
        for word in words(5):
            bench.submit(word)
        await bench.until(lambda: bench.store.asked)
        left = bench.queue.abandon()
        assert sorted(turn.job.data for turn in left) == words(5)
        assert bench.outcomes == {}
        assert not bench.queue.has_busy_lanes

    tell(story)


def test_descriptors_are_given_back() -> None:
    async def story(bench: Bench) -> None:
        bench.submit(b"first")
        await bench.finished(1)
        before = open_descriptors()
        for word in words(50):
            bench.submit(word)
        await bench.finished(51)
        # The store's own ends are of this process, too, and are closed by its thread.
        await bench.until(lambda: open_descriptors() <= before)

    tell(story, width=4)


def upper(_key: PublicKey, data: bytes, _flags: int) -> bytes:
    return data.upper()


def ask(data: Sequence[bytes], password: bytes = PASSWORD) -> bytes:
    """The answer to a request, without its length."""
    request = cut_message(bytearray(encode_asking(encode_opening(PASSWORD, KEY), 0, data)))
    assert request is not None
    answer = cut_message(bytearray(answer_asking(request, password, one_by_one(upper))))
    assert answer is not None
    return answer


@given(st.lists(st.binary(max_size=64), min_size=1, max_size=MAX_AT_ONCE))
def test_each_is_answered_in_its_order(data: list[bytes]) -> None:
    answers = parse_answers(ask(data), len(data))
    assert answers is not None
    assert [answer.outcome for answer in answers] == [one.upper() for one in data]
    assert all(answer.begun_s <= answer.ended_s for answer in answers)


def test_who_does_not_know_the_password_or_asks_for_too_much_gets_one_word_for_all() -> None:
    for reason, message in (
        ("not_allowed", ask([b"a", b"b", b"c"], b"another")),
        ("bad_request", ask([b"a"] * (MAX_AT_ONCE + 1))),
    ):
        answers = parse_answers(message, 3)
        assert answers is not None
        reasons = {getattr(answer.outcome, "reason", "") for answer in answers}
        assert reasons == {reason}


@given(st.binary(max_size=80))
def test_what_is_no_request_is_refused(request: bytes) -> None:
    opening = encode_opening(PASSWORD, parse_public_key(KEY).blob)
    for body in (request, opening + request):
        answer = cut_message(bytearray(answer_asking(body, PASSWORD, one_by_one(upper))))
        assert answer is not None
        assert parse_answers(answer, 1)


@given(st.binary(max_size=80), st.integers(1, MAX_AT_ONCE))
def test_what_is_no_answer_is_one_error(message: bytes, count: int) -> None:
    try:
        answers = parse_answers(message, count)
    except TokenError:
        return
    assert answers is None or len(answers) == count
