"""Turns by caller and connection: nobody gets more of them by asking more often."""

from __future__ import annotations

import random
from collections import defaultdict, deque

import pytest

from secretivex.server.worker.fair import FairQueue


def test_callers_take_turns_and_so_do_the_connections_of_one() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.push("greedy", "a", item)
    queue.push("greedy", "b", "b1")
    queue.push("modest", "c", "c1")
    assert len(queue) == 5
    assert [queue.pop() for _ in range(5)] == ["a1", "c1", "b1", "a2", "a3"]
    with pytest.raises(LookupError):
        queue.pop()


def test_a_caller_with_a_thousand_connections_delays_another_by_one_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.push("greedy", number, "greedy")
    queue.push("modest", "m", "modest")
    assert "modest" in [queue.pop() for _ in range(2)]


def test_what_a_lost_connection_waited_for_is_gone_at_once() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(10):
        queue.push("caller", number % 2, number)
    assert queue.drop("caller", 0) == (0, 2, 4, 6, 8)
    assert queue.drop("caller", 0) == ()
    assert queue.drop("nobody", 0) == ()
    assert len(queue) == 5
    assert [queue.pop() for _ in range(5)] == [1, 3, 5, 7, 9]
    assert not queue._callers


def test_every_item_comes_out_once_and_in_the_order_of_its_owner() -> None:
    chance = random.Random(5)
    queue: FairQueue[tuple[int, int, int]] = FairQueue()
    waiting: dict[tuple[int, int], deque[int]] = defaultdict(deque)
    for step in range(5000):
        if chance.random() < 0.55:
            caller, owner = chance.randrange(4), chance.randrange(6)
            queue.push(caller, (caller, owner), (caller, owner, step))
            waiting[caller, owner].append(step)
        elif chance.random() < 0.05:
            caller, owner = chance.randrange(4), chance.randrange(6)
            gone = queue.drop(caller, (caller, owner))
            assert [item[2] for item in gone] == list(waiting.pop((caller, owner), ()))
        elif queue:
            caller, owner, number = queue.pop()
            assert waiting[caller, owner].popleft() == number
        assert len(queue) == sum(map(len, waiting.values()))
