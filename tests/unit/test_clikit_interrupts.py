"""Ctrl-C comes after a document that is on its way out, and comes again where Python loses it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from clikit.command.interrupts import again_where_lost, held_back

WAITS_S = 90.0


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupted_often(done: list[int], *, times: int) -> None:
    with held_back():
        for number in range(1, times + 1):
            interrupt()
            done.append(number)


def test_an_interrupt_waits_for_what_is_held() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_often(done, times=1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_does_not_wait() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_often(done, times=2)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_raised_where_nothing_came() -> None:
    with held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_answer_of_somebody_else_stays() -> None:
    came = []
    signal.signal(signal.SIGINT, lambda *_: came.append(1))
    with held_back():
        interrupt()
        assert came == [1]


def test_other_threads_hold_nothing() -> None:
    with held_back():
        within = signal.getsignal(signal.SIGINT)
        thread = Thread(target=lambda: held_back().__enter__())
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGINT) is within


class _Finalized:
    def __del__(self) -> None:
        interrupt()


def lose_one() -> None:
    # What is raised in a finalizer cannot leave it.
    _Finalized()
    time.sleep(WAITS_S)


def test_an_interrupt_that_a_finalizer_lost_comes_again() -> None:
    begin_s = time.monotonic()
    with again_where_lost(), pytest.raises(KeyboardInterrupt):
        lose_one()
    assert time.monotonic() - begin_s < WAITS_S / 2, "the wait was not broken off"


def test_what_else_a_finalizer_loses_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    with again_where_lost():
        Broken()
    assert len(told) == 1
