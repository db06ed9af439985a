"""Changes that clients ask for: made by the authority, answered when every worker knows of them.

Questions to a person and attempts to unlock are answered here too. Rule for editors: a change is
answered exactly once, and never before every worker acts on it.
"""

from __future__ import annotations

from typing import NamedTuple

from secretivex.lock import UnlockQueue
from secretivex.server.authority import Authority
from secretivex.server.confirm.asked import parse_asked
from secretivex.server.confirm.board import Board
from secretivex.server.control import Kind, Message, encode_message, encode_ticket, parse_ticket
from secretivex.server.crew.workers import Workers
from secretivex.server.link import WorkerLink
from secretivex.stores.token.loaded import parse_loaded_module
from sshwire.agent.requests import UnlockRequest, parse_request


class _Ticket(NamedTuple):
    """Who waits for the outcome of a change."""

    link: WorkerLink
    number: int


class _Waiter(NamedTuple):
    """A change that is made and that not every worker knows of yet."""

    generation: int
    ticket: _Ticket


class Changes:
    """What clients wait for; `is_stale` while workers are to be told of something."""

    def __init__(self, authority: Authority, workers: Workers) -> None:
        self._authority = authority
        self._workers = workers
        self._board: Board[_Ticket] = Board(authority.ask_person)
        self._unlocks: UnlockQueue[_Ticket] = UnlockQueue(authority.lock)
        self._waiters: list[_Waiter] = []
        self.is_stale = False

    def due(self, now: float) -> list[float]:
        """The moments at which `advance` has something to do."""
        return [
            moment for moment in (self._unlocks.due, self._board.due(now)) if moment is not None
        ]

    def take(self, link: WorkerLink, message: Message, now: float) -> None:
        """Make a change; its answer waits until every worker knows."""
        number, payload = parse_ticket(message.body)
        ticket = _Ticket(link, number)
        if message.kind is Kind.QUESTION:
            asked = parse_asked(payload)
            self._board.ask(ticket, asked._replace(line=f"{link.pid}.{asked.line}"), now)
            return
        if message.kind is Kind.FORGET:
            self._board.forget(ticket)
            return
        is_module = message.kind is Kind.MODULE
        request = parse_loaded_module(payload) if is_module else parse_request(payload)
        if isinstance(request, UnlockRequest):
            self._unlocks.submit(ticket, request.passphrase)
            return
        outcome = self._authority.change(request)
        if outcome == "ok":
            self._wait_for_all(ticket)
        else:
            self._answer(ticket, outcome)

    def forget(self, link: WorkerLink) -> None:
        """A worker is gone: nobody waits there for a person any more."""
        self._board.forget_where(lambda ticket: ticket.link is link)

    def _wait_for_all(self, ticket: _Ticket) -> None:
        self.is_stale = True
        self._waiters.append(_Waiter(self._authority.generation, ticket))

    def _answer(self, ticket: _Ticket, outcome: str, kind: Kind = Kind.OUTCOME) -> None:
        if self._workers.has(ticket.link):
            body = encode_ticket(ticket.number, outcome.encode())
            self._workers.send(ticket.link, encode_message(kind, body))

    def advance(self, now: float) -> None:
        """Everything that became possible or due: attempts to unlock, expiries, states, answers."""
        for ticket, is_unlocked in self._unlocks.advance(now):
            if is_unlocked:
                self._authority.unlocked()
                self._wait_for_all(ticket)
            else:
                self._answer(ticket, "wrong_passphrase")
        for ticket, word in self._board.advance(now, self._authority.remember_answers_s):
            self._answer(ticket, word, Kind.VERDICT)
        self.is_stale |= self._authority.expire()
        self.is_stale |= self._authority.advance_stores()
        # One state at a time: a burst of changes becomes few states, and no outbox grows.
        # After a reload the old state serves until all of the new one is there.
        if self.is_stale and self._workers.is_settled and not self._authority.is_waiting:
            self.is_stale = False
            self._board.forget_answers()
            self._workers.publish(self._authority.state())
        self._answer_waiters()

    def _answer_waiters(self) -> None:
        known = self._workers.known
        ready = [waiter for waiter in self._waiters if waiter.generation <= known]
        self._waiters = [waiter for waiter in self._waiters if waiter.generation > known]
        for waiter in ready:
            self._answer(waiter.ticket, "ok")

    def close(self) -> None:
        """Nobody is asked any more."""
        self._board.close()
