"""Tasks done by several processes: the same answers in the same order, whoever gave them."""

from __future__ import annotations

import gc
import json
import operator
import os
from collections.abc import Callable
from itertools import chain, count, repeat, takewhile
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from clikit.crew import AHEAD, Crew, spare_cores

negate: Callable[[int], int] = operator.neg


@pytest.mark.parametrize("workers", [0, 2])
def test_answers_come_in_the_order_of_the_tasks(workers: int) -> None:
    told: list[None] = []
    with Crew(
        workers,
        here=negate,
        there=negate,
        start=gc.collect,
        killed=lambda: told.append(None),
    ) as crew:
        assert list(crew.do(range(200))) == [-number for number in range(200)]
        assert list(crew.do(range(3))) == [0, -1, -2], "the same processes again"
    assert told == []


def _noted(number: int, numbers: list[int]) -> int:
    numbers.append(number)
    return number


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []
    with Crew[int, int](1, here=abs, there=abs, start=gc.collect) as crew:
        answers = crew.do(number for number in count() if number == _noted(number, taken))
        assert [next(answers) for _ in range(10)] == list(range(10))
    assert len(taken) <= 10 + 2 * AHEAD + 2


def test_who_is_killed_leaves_no_gap() -> None:
    """What others would have done is done here."""
    told: list[str] = []
    with Crew[int, str](
        2, here=str, there=os._exit, start=gc.collect, killed=lambda: told.append("killed")
    ) as crew:
        until_told = takewhile(lambda _: len(told) < 2, count())
        answers = list(crew.do(until_told))
        assert answers == [str(number) for number in range(len(answers))]
        assert list(crew.do(range(2))) == ["0", "1"]
    assert told == ["killed"] * 2
    assert not active_children()


def test_what_goes_wrong_in_another_process_is_told_here() -> None:
    with (
        pytest.raises(ValueError, match="Expecting value"),
        Crew[str, Any](1, here=json.loads, there=json.loads, start=gc.collect) as crew,
    ):
        list(crew.do(["text"] * 50))


def test_what_fails_elsewhere_is_tried_here(tmp_path: Path) -> None:
    folder = tmp_path / "made once"
    until_made = takewhile(lambda _: not folder.exists(), repeat(str(folder)))
    tasks = chain(until_made, repeat(str(folder), 20))
    with Crew[str, str | None](1, here=lambda _: "here", there=os.mkdir, start=gc.collect) as crew:
        answers = list(crew.do(tasks))
    # Of all that it was asked, the other process could do one.
    assert answers.count(None) == 1
    assert set(answers) == {"here", None}


def test_large_tasks_and_answers_hold_nobody_up() -> None:
    large = [bytes([number]) * 2_000_000 for number in range(20)]
    with Crew[bytes, bytes](2, here=bytes, there=bytes, start=gc.collect) as crew:
        assert list(crew.do(large)) == large


def test_this_process_counts_as_one() -> None:
    assert 0 <= spare_cores() < (os.cpu_count() or 1)
