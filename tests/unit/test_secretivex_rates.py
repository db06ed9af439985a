"""Counts that all workers share: exact, bounded, and full where they cannot be told."""

from __future__ import annotations

import fcntl
import os
import time

import pytest

from secretivex.policy import Charge
from secretivex.server.judging.rates import PROBES, RateTable

CHARGE = Charge("rule", 3, 60)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_window_begins_with_its_first_signature_and_ends_after_its_time() -> None:
    clock = Clock()
    table = RateTable(clock)
    assert table.used(CHARGE) == 0
    assert [table.charge((CHARGE,)) for _ in range(4)] == [True, True, True, False]
    assert table.used(CHARGE) == 3
    clock.now += 59.9
    assert not table.charge((CHARGE,))
    clock.now += 0.1
    assert table.used(CHARGE) == 0
    assert table.charge((CHARGE,))
    clock.now += 59.9
    assert table.used(CHARGE) == 1


def test_a_later_signature_does_not_make_the_window_longer() -> None:
    clock = Clock()
    table = RateTable(clock)
    for _ in range(3):
        assert table.charge((CHARGE,))
        clock.now += 20
    assert table.used(CHARGE) == 0


def test_several_counts_are_added_to_all_or_not_at_all() -> None:
    table = RateTable(Clock())
    wide = Charge("wide", 10, 60)
    assert [table.charge((CHARGE, wide)) for _ in range(4)] == [True, True, True, False]
    assert (table.used(CHARGE), table.used(wide)) == (3, 3)


def test_where_all_places_run_for_others_a_count_cannot_be_told_until_one_ends() -> None:
    clock = Clock()
    table = RateTable(clock, buckets=PROBES)
    for number in range(PROBES):
        assert table.charge((Charge(str(number), 1, 60),))
    assert table.used(CHARGE) is None
    assert not table.charge((CHARGE,))
    clock.now += 60
    assert table.charge((CHARGE,))


@pytest.mark.parametrize("limit", [1, 500])
def test_processes_that_charge_at_once_never_go_beyond_the_limit(limit: int) -> None:
    table = RateTable()
    charge = Charge("all", limit, 3600)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            granted = sum(table.charge((charge,)) for _ in range(limit))
            os._exit(0 if granted <= limit else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert table.used(charge) == limit


def test_a_lock_that_a_stopped_process_holds_is_not_waited_for() -> None:
    table = RateTable()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(table._lock, fcntl.LOCK_EX)
        os.write(writing, b"1")
        time.sleep(300)
        os._exit(0)
    try:
        os.read(reading, 1)
        begin = time.monotonic()
        assert not table.charge((CHARGE,))
        assert time.monotonic() - begin < 60
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    assert table.charge((CHARGE,)), "the system frees what a dead process held"
