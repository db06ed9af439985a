"""All questions to people: who asked, what is open, what was answered of late.

A few windows at a time, shared out one a connection; requests that share a key share one window and
its answer. Rule for editors: nothing here blocks; a "no" is never remembered, and every change of
keys, rules or lock makes the board forget what it was told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from secretivex.server.confirm.asked import Asked
from secretivex.stores.token.errors import TokenError

MAX_QUESTIONS = 8
"""Open at a time; the rest wait their turn."""

MAX_REMEMBERED = 4096
"""Answers that are remembered at a time."""

POLL_S = 0.05
"""How soon an answer is seen."""

Token = TypeVar("Token")


class Window(Protocol):
    """A question that is open."""

    def outcome(self, now: float, /) -> str | None:
        """The word for why not, "" if it was allowed, None while nobody has answered."""
        ...

    def take_away(self) -> None:
        """Close it."""
        ...


@dataclass(slots=True)
class _Pending(Generic[Token]):
    """One question and those who wait for its answer. Not frozen: others join it."""

    asked: Asked
    tokens: list[Token] = field(default_factory=list)
    window: Window | None = None


class Board(Generic[Token]):
    """Call `advance` after every other call, and when `due`."""

    def __init__(self, begin: Callable[[Asked, float], Window]) -> None:
        self._begin = begin
        self._lines: dict[str, deque[_Pending[Token]]] = {}
        self._open: list[_Pending[Token]] = []
        self._shared: dict[str, _Pending[Token]] = {}
        self._pending: dict[Token, _Pending[Token]] = {}
        self._allowed: dict[str, float] = {}
        self._answers: list[tuple[Token, str]] = []

    def due(self, now: float) -> float | None:
        """When there is something to look at; None if nobody was asked."""
        if self._answers:
            return now
        return now + POLL_S if self._open else None

    def ask(self, token: Token, asked: Asked, now: float) -> None:
        """Have a person asked, unless they are being asked, or have answered, already."""
        if asked.key and now < self._allowed.get(asked.key, 0.0):
            self._answers.append((token, ""))
            return
        pending = self._shared.get(asked.key) if asked.key else None
        if pending is None:
            pending = _Pending(asked)
            self._lines.setdefault(asked.line, deque()).append(pending)
            if asked.key:
                self._shared[asked.key] = pending
        pending.tokens.append(token)
        self._pending[token] = pending

    def forget(self, token: Token) -> None:
        """Whoever asked is gone; a question that nobody waits for is taken away."""
        pending = self._pending.pop(token, None)
        if pending is None:
            return
        pending.tokens.remove(token)
        if pending.tokens:
            return
        self._unshare(pending)
        if pending.window is not None:
            pending.window.take_away()
            self._open.remove(pending)
            return
        line = self._lines[pending.asked.line]
        line.remove(pending)
        if not line:
            del self._lines[pending.asked.line]

    def forget_where(self, is_gone: Callable[[Token], bool]) -> None:
        """The same for everybody of whom this holds."""
        for token in [token for token in self._pending if is_gone(token)]:
            self.forget(token)

    def forget_answers(self) -> None:
        """What was allowed was allowed of other keys or by other rules."""
        self._allowed.clear()

    def advance(self, now: float, remember_s: float) -> list[tuple[Token, str]]:
        """See which questions are answered, open the next ones; who gets which word."""
        for pending in [*self._open]:
            word = pending.window.outcome(now) if pending.window is not None else None
            if word is not None:
                self._open.remove(pending)
                self._end(pending, word, now, remember_s)
        self._fill(now, remember_s)
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """Take every question away."""
        for pending in self._open:
            if pending.window is not None:
                pending.window.take_away()
        self._open.clear()

    def _fill(self, now: float, remember_s: float) -> None:
        busy = {pending.asked.line for pending in self._open}
        for name in [*self._lines]:
            if len(self._open) >= MAX_QUESTIONS:
                return
            if name in busy:
                continue
            line = self._lines.pop(name)
            pending = line.popleft()
            if line:
                self._lines[name] = line  # at the end: others come first
            try:
                pending.window = self._begin(pending.asked, now)
                self._open.append(pending)
            except TokenError as error:
                self._end(pending, error.reason, now, remember_s)
            except Exception:  # noqa: BLE001 - whatever the reason, it is no yes
                self._end(pending, "confirm_error", now, remember_s)

    def _end(self, pending: _Pending[Token], word: str, now: float, remember_s: float) -> None:
        self._unshare(pending)
        if not word and pending.asked.key and remember_s:
            if len(self._allowed) >= MAX_REMEMBERED:
                self._allowed.clear()
            self._allowed[pending.asked.key] = now + remember_s
        for token in pending.tokens:
            del self._pending[token]
            self._answers.append((token, word))

    def _unshare(self, pending: _Pending[Token]) -> None:
        if self._shared.get(pending.asked.key) is pending:
            del self._shared[pending.asked.key]
