"""The lock: who may open it, and how long a wrong guess takes."""

from __future__ import annotations

import pytest

from secretivex.lock import DIGEST_BYTES, MAX_DELAY_S, SALT_BYTES, Lock, UnlockQueue, derive

SALT = bytes(SALT_BYTES)
RIGHT = bytes([1]) * DIGEST_BYTES
WRONG = bytes([2]) * DIGEST_BYTES


@pytest.fixture
def lock() -> Lock:
    lock = Lock()
    assert lock.lock(SALT, RIGHT)
    return lock


def test_a_lock_opens_with_its_own_digest_only(lock: Lock) -> None:
    assert not lock.unlock(WRONG)
    assert lock.is_locked
    assert lock.unlock(RIGHT)
    assert lock.salt == b""
    assert not lock.unlock(RIGHT)


def test_a_lock_is_not_locked_again(lock: Lock) -> None:
    assert not lock.lock(SALT, WRONG)
    assert lock.unlock(RIGHT)


@pytest.mark.parametrize(("salt", "digest"), [(b"", RIGHT), (SALT, b""), (SALT, RIGHT + b"x")])
def test_what_is_no_derivation_does_not_lock(salt: bytes, digest: bytes) -> None:
    lock = Lock()
    assert not lock.lock(salt, digest)
    assert not lock.is_locked


def test_a_derivation_depends_on_passphrase_and_salt() -> None:
    other = bytes([1]) * SALT_BYTES
    assert derive(b"a", SALT) == derive(b"a", SALT)
    assert len({derive(b"a", SALT), derive(b"b", SALT), derive(b"a", other)}) == 3


def test_each_failure_takes_a_tenth_of_a_second_longer_and_holds_up_the_next(lock: Lock) -> None:
    queue: UnlockQueue[str] = UnlockQueue(lock)
    for name in ("first", "second"):
        queue.submit(name, WRONG)
    queue.submit("third", RIGHT)
    assert queue.advance(0.0) == []
    assert queue.due == pytest.approx(0.1)
    assert queue.advance(0.05) == []
    assert queue.advance(0.1) == [("first", False)]
    assert queue.due == pytest.approx(0.3)
    assert queue.advance(0.31) == [("second", False), ("third", True)]
    assert queue.due is None


def test_success_forgets_the_failures_and_the_delay_has_an_end(lock: Lock) -> None:
    queue: UnlockQueue[int] = UnlockQueue(lock)
    now = 0.0
    for number in range(150):
        queue.submit(number, WRONG)
        queue.advance(now)
        due = queue.due
        assert due is not None
        assert due - now == pytest.approx(min(MAX_DELAY_S, 0.1 * (number + 1)))
        now = due
        queue.advance(now)
    queue.submit(-1, RIGHT)
    assert queue.advance(now) == [(-1, True)]
    assert lock.lock(SALT, RIGHT)
    queue.submit(-2, WRONG)
    queue.advance(now)
    assert queue.due == pytest.approx(now + 0.1)


def test_who_finds_it_open_is_refused_at_once(lock: Lock) -> None:
    queue: UnlockQueue[str] = UnlockQueue(lock)
    queue.submit("one", RIGHT)
    queue.submit("two", RIGHT)
    assert queue.advance(0.0) == [("one", True), ("two", False)]
