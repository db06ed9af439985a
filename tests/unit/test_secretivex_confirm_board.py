"""The board of questions, without programs: what is open, what waits, what is remembered."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from secretivex.server.confirm.asked import Asked
from secretivex.server.confirm.board import MAX_QUESTIONS, MAX_REMEMBERED, POLL_S, Board
from secretivex.stores.token.askpass import Question
from secretivex.stores.token.errors import TokenError


@dataclass(eq=False)
class Window:
    """A question that is answered when the test says so."""

    text: str
    word: str | None = None
    is_taken_away: bool = False

    def outcome(self, _now: float, /) -> str | None:
        return self.word

    def take_away(self) -> None:
        self.is_taken_away = True


class Desk:
    """A board, and every window that it ever opened."""

    def __init__(self, *, remember_s: float = 0.0) -> None:
        self.windows: list[Window] = []
        self.board: Board[int] = Board(self.open)
        self.now = 0.0
        self.remember_s = remember_s
        self.error: Exception | None = None

    def open(self, asked: Asked, _now: float) -> Window:
        if self.error is not None:
            raise self.error
        self.windows.append(Window(asked.question.text))
        return self.windows[-1]

    def ask(self, token: int, key: str = "", line: str = "") -> list[tuple[int, str]]:
        asked = Asked(Question(str(token)), key, line or str(token))
        self.board.ask(token, asked, self.now)
        return self.look()

    def look(self) -> list[tuple[int, str]]:
        return self.board.advance(self.now, self.remember_s)

    def answer(self, number: int, word: str = "") -> list[tuple[int, str]]:
        self.windows[number].word = word
        return self.look()

    @property
    def shown(self) -> list[str]:
        return [one.text for one in self.windows]


def test_eight_are_open_at_a_time_and_the_next_when_one_is_answered() -> None:
    desk = Desk()
    for token in range(MAX_QUESTIONS + 2):
        assert desk.ask(token) == []
    assert len(desk.windows) == MAX_QUESTIONS
    assert desk.answer(3) == [(3, "")]
    assert desk.shown == [str(token) for token in range(MAX_QUESTIONS + 1)]
    desk.board.forget(0)
    assert desk.windows[0].is_taken_away
    assert desk.look() == []
    assert len(desk.windows) == MAX_QUESTIONS + 2


def test_one_connection_has_one_question_open_and_lets_others_go_first() -> None:
    desk = Desk()
    for token in (1, 2, 3):
        desk.ask(token, line="greedy")
    desk.ask(9, line="modest")
    assert desk.shown == ["1", "9"]
    assert desk.answer(0, "confirm_denied") == [(1, "confirm_denied")]
    assert desk.shown == ["1", "9", "2"]


@pytest.mark.parametrize("word", ["confirm_denied", "confirm_timeout"])
def test_a_refusal_is_never_remembered_not_even_as_one(word: str) -> None:
    desk = Desk(remember_s=60)
    desk.ask(1, "key")
    assert desk.ask(2, "key") == []
    assert sorted(desk.answer(0, word)) == [(1, word), (2, word)]
    assert desk.ask(3, "key") == []
    assert desk.shown == ["1", "3"]


def test_a_yes_holds_for_its_time_for_its_key_and_until_something_changes() -> None:
    desk = Desk(remember_s=60)
    desk.ask(1, "key")
    assert desk.answer(0) == [(1, "")]
    desk.now = 59.0
    assert desk.ask(2, "key") == [(2, "")]
    assert desk.ask(3, "another") == []
    assert desk.ask(4, "") == []
    desk.now = 60.0
    assert desk.ask(5, "key") == []
    assert desk.answer(3) == [(5, "")]
    desk.board.forget_answers()
    assert desk.ask(6, "key") == []


def test_nothing_is_remembered_where_that_is_not_wanted_or_nothing_is_alike() -> None:
    desk = Desk(remember_s=0)
    desk.ask(1, "key")
    desk.answer(0)
    assert desk.ask(2, "key") == []
    each_time = Desk(remember_s=60)
    each_time.ask(1, "")
    each_time.answer(0)
    assert each_time.ask(2, "") == []
    assert each_time.shown == ["1", "2"]


def test_a_question_stays_for_those_who_wait_and_goes_with_the_last() -> None:
    desk = Desk()
    desk.ask(1, "key")
    desk.ask(2, "key")
    taken_away = []
    for token in (1, 2, 2):
        desk.board.forget(token)
        taken_away.append(desk.windows[0].is_taken_away)
    assert taken_away == [False, True, True]
    assert desk.ask(3, "key") == []
    assert desk.shown == ["1", "3"], "one that was taken away is joined by nobody"
    assert desk.answer(1) == [(3, "")]


def test_a_question_that_waits_its_turn_goes_with_who_asked() -> None:
    desk = Desk()
    for token in (1, 2):
        desk.ask(token, line="same")
    desk.board.forget_where(lambda token: token == 2)
    assert desk.answer(0) == [(1, "")]
    assert desk.shown == ["1"]
    assert desk.board.due(desk.now) is None


def test_who_cannot_be_asked_has_refused_and_the_next_is_tried() -> None:
    desk = Desk(remember_s=60)
    desk.error = TokenError("confirm_unavailable", "nobody")
    assert desk.ask(1, "key") == [(1, "confirm_unavailable")]
    desk.error = ValueError("embedded null byte")
    assert desk.ask(2, "key") == [(2, "confirm_error")]
    desk.error = None
    assert desk.ask(3, "key") == []


def test_the_board_is_looked_at_while_anybody_waits() -> None:
    desk = Desk(remember_s=60)
    assert desk.board.due(1.0) is None
    desk.ask(1, "key")
    assert desk.board.due(1.0) == 1.0 + POLL_S
    desk.answer(0)
    assert desk.board.due(1.0) is None
    desk.board.ask(2, Asked(Question("2"), "key", "2"), 1.0)
    assert desk.board.due(1.0) == 1.0


def test_what_is_remembered_is_bounded() -> None:
    desk = Desk(remember_s=60)
    for token in range(MAX_REMEMBERED + 1):
        desk.ask(token, f"key {token}")
        desk.answer(-1)
    assert len(desk.board._allowed) == 1
    desk.ask(-1)
    desk.board.close()
    assert desk.windows[-1].is_taken_away
