"""The supervisor: owns the socket and the agent's state, and keeps every worker alive and current.

Plain selectors, no threads, no event loop. Rule for editors: nothing here waits for a worker; a
worker that does not answer in time is killed, and another one gets the whole state.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from secretivex.errors import SecretiveError
from secretivex.hardening import overwrite_freed_memory
from secretivex.lock import UnlockQueue
from secretivex.metrics.cells import Cells
from secretivex.server.authority import Authority
from secretivex.server.confirm.asked import parse_asked
from secretivex.server.confirm.board import Board
from secretivex.server.control import (
    Kind,
    Message,
    encode_message,
    encode_number,
    encode_ticket,
    parse_ticket,
)
from secretivex.server.judging.rates import RateTable
from secretivex.server.link import WorkerLink
from secretivex.server.listen_unix import Listener
from secretivex.server.report.books import Books
from secretivex.server.report.link import DeskLink
from secretivex.server.report.vitals import OF_NOW
from secretivex.server.signals import Wish
from secretivex.server.state import encode_state
from secretivex.server.surroundings.around import Around
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.worker.shared import Shared
from secretivex.server.zygote import Zygote, start_zygote
from secretivex.stores.token.loaded import parse_loaded_module
from sshwire.agent.requests import UnlockRequest, parse_request
from sshwire.errors import WireError

LOG = logging.getLogger("secretivex.server")

ACKNOWLEDGE_S = 0.5
"""How long a worker may take to answer from a new state, the time it waits for a core apart."""

ACKNOWLEDGE_PER_KEY_S = 0.002
"""More for each key, since a worker loads them all."""

START_S = 10.0
"""How long a new worker may take to its first acknowledgement."""

RETRY_S = 1.0
"""Pause before a worker is made again that never got to its first acknowledgement."""

KILL_GRACE_S = 0.5
"""After the time to drain is over, until what is left is killed."""


class _Ticket(NamedTuple):
    """Who waits for the outcome of a change."""

    link: WorkerLink
    number: int


class _Waiter(NamedTuple):
    """A change that is made and that not every worker knows of yet."""

    generation: int
    ticket: _Ticket


class Supervisor:
    """Runs the workers of one listener until it is told to stop."""

    def __init__(
        self,
        listener: Listener,
        authority: Authority,
        *,
        around: Around,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._authority = authority
        self._around = around
        self._is_ready = False
        self._clock = clock
        self._audit = around.audit
        self._cells = ConnectionCells(authority.workers)
        self._meters = Cells(authority.workers + 2)
        self._books = Books(authority, around, self._meters.meter(authority.workers))
        self._desk: DeskLink | None = None
        self._rates = RateTable()
        self._board: Board[_Ticket] = Board(authority.ask_person)
        self._selector = selectors.DefaultSelector()
        self._links: dict[int, WorkerLink] = {}
        self._retries: dict[int, float] = {}
        self._kill_at: float | None = None
        self._is_stopping = False
        self._is_stale = False
        self._waiters: list[_Waiter] = []
        self._unlocks: UnlockQueue[_Ticket] = UnlockQueue(authority.lock)
        if around.signals is None:
            raise ValueError("a supervisor needs signals")
        self._signals = around.signals
        self._zygote = self._fork_zygote()
        self._selector.register(self._signals.socket, selectors.EVENT_READ, self._on_signal)
        self._watch_zygote()
        self._watch_audit()

    def run(self) -> None:
        """Serve; returns after a clean stop, with every worker gone."""
        overwrite_freed_memory(is_on=True)
        self._authority.refresh()
        self._state = self._encode()
        self._watch_stores()
        try:
            for number in range(self._authority.workers):
                self._spawn(number)
            self._spawn_desk()
            while not self._is_over():
                self._turn()
        finally:
            self._end()

    def _is_over(self) -> bool:
        """Whether everybody is gone; the reporter is the last, so that it can tell the end."""
        if not self._is_stopping or self._links:
            return False
        if self._desk is not None:
            self._desk.end()
        return self._desk is None

    def _turn(self) -> None:
        for key, mask in self._selector.select(self._patience()):
            if isinstance(key.data, WorkerLink):
                self._on_worker(key.data, mask)
            else:
                key.data()
        self._act_on_deadlines()
        self._advance()
        self._around.notifier.live()
        self._books.keep(self._clock())

    def _patience(self) -> float | None:
        """Seconds to the next deadline; None if there is none."""
        moments = [self._books.due_s]
        moments += [link.deadline for link in self._links.values() if link.deadline is not None]
        moments += self._retries.values()
        times = (self._kill_at, self._unlocks.due, self._board.due(self._clock()))
        moments += [moment for moment in times if moment is not None]
        until_s = (
            self._authority.until_expiry_s(),
            self._authority.until_stores_s(),
            self._around.notifier.until_due_s(),
        )
        moments += [self._clock() + seconds for seconds in until_s if seconds is not None]
        return max(0.0, min(moments) - self._clock()) if moments else None

    # Workers.

    def _encode(self) -> bytes:
        state = self._authority.state()
        self._generation = state.generation
        self._keys = len(state.keys)
        return encode_message(Kind.STATE, encode_state(state))

    def _spawn(self, number: int) -> None:
        self._retries.pop(number, None)
        self._cells.set(number, 0)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = self._zygote.spawn(number, theirs)
            except OSError as error:
                # Whatever it would still answer belongs to this request: have a new zygote.
                self._zygote.kill()
                ours.close()
                self._retries[number] = self._clock() + RETRY_S
                LOG.error("cannot make a worker", extra={"fields": {"reason": str(error)}})  # noqa: TRY400 - the reason is all
                return
        link = WorkerLink(number, pid, ours)
        self._links[number] = link
        self._selector.register(ours, selectors.EVENT_READ, link)
        self._tell_state(link, START_S)

    def _tell_state(self, link: WorkerLink, patience_s: float) -> None:
        patience_s += ACKNOWLEDGE_PER_KEY_S * self._keys
        link.expect(self._generation, self._clock() + patience_s)
        self._send(link, self._state)

    def _send(self, link: WorkerLink, data: bytes) -> None:
        link.outbox += data
        self._on_worker(link, selectors.EVENT_WRITE)

    def _on_worker(self, link: WorkerLink, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                link.write()
            if mask & selectors.EVENT_READ:
                for change in link.read():
                    self._on_change(link, change)
        except (OSError, EOFError, WireError) as error:
            self._replace(link, f"{type(error).__name__}: {error}" if str(error) else "it ended")
            return
        # An answer that could not be written may have shown meanwhile that the worker is gone.
        if self._links.get(link.number) is link:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.outbox else 0)
            self._selector.modify(link.channel, events, link)

    def _replace(self, link: WorkerLink, reason: str) -> None:
        """Make sure that a worker is gone; unless we stop, have another one."""
        if self._links.get(link.number) is not link:
            return
        self._selector.unregister(link.channel)
        del self._links[link.number]
        link.kill()
        self._board.forget_where(lambda ticket: ticket.link is link)
        self._cells.set(link.number, 0)
        self._meters.meter(link.number).clear(*OF_NOW)
        if self._is_stopping:
            return
        self._books.lost_worker()
        fields = {"worker": link.number, "pid": link.pid, "reason": reason}
        LOG.error("worker lost", extra={"fields": fields})
        self._around.say("worker_lost", pid=link.pid, detail=reason)
        if link.was_ready:
            self._spawn(link.number)
        else:
            self._retries[link.number] = self._clock() + RETRY_S

    def _act_on_deadlines(self) -> None:
        now = self._clock()
        for link in tuple(self._links.values()):
            if link.is_overdue(now):
                self._replace(link, "it did not acknowledge in time")
        for number, moment in tuple(self._retries.items()):
            if now >= moment and not self._is_stopping:
                self._spawn(number)
        if self._kill_at is not None and now >= self._kill_at:
            if not self._links and self._desk is not None:
                self._lose_desk(self._desk)
            for link in tuple(self._links.values()):
                LOG.warning("worker killed", extra={"fields": {"worker": link.number}})
                self._replace(link, "it did not end in time")

    # The reporter.

    def _spawn_desk(self) -> None:
        """Have what tells of us; without it we serve on."""
        plan = self._around.plan
        if plan is None or self._is_stopping:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = self._zygote.spawn(self._authority.workers, theirs)
            except OSError as error:
                ours.close()
                LOG.error("no reporter", extra={"fields": {"reason": str(error)}})  # noqa: TRY400 - the reason is all
                return
        desk = self._desk = DeskLink(pid, ours, self._answer_desk)
        self._selector.register(ours, selectors.EVENT_READ, partial(self._on_desk, desk))
        desk.tell_plan(plan)

    def _on_desk(self, desk: DeskLink) -> None:
        try:
            desk.on_ready()
        except (OSError, EOFError, WireError):
            self._lose_desk(desk)

    def _lose_desk(self, desk: DeskLink) -> None:
        self._selector.unregister(desk.channel)
        desk.kill()
        self._desk = None
        if not self._is_stopping:
            LOG.error("reporter lost", extra={"fields": {"pid": desk.pid}})
            # Made again with the next reload: one that cannot live must not be forked for ever.
            if not self._books.has_lost_reporter():
                self._spawn_desk()

    def _answer_desk(self, verb: str) -> dict[str, Any]:
        if verb == "reload":
            self._reload()
            return self._books.reload_answer()
        links = self._links.values()
        workers = [
            {"number": link.number, "pid": link.pid, "ready": link.was_ready} for link in links
        ]
        desk = 0 if self._desk is None else self._desk.pid
        return self._books.status(workers, desk)

    # Changes that clients ask for.

    def _on_change(self, link: WorkerLink, message: Message) -> None:
        """Make a change; its answer waits until every worker knows."""
        number, payload = parse_ticket(message.body)
        ticket = _Ticket(link, number)
        if message.kind is Kind.QUESTION:
            asked = parse_asked(payload)
            asked = asked._replace(line=f"{link.pid}.{asked.line}")
            self._board.ask(ticket, asked, self._clock())
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

    def _wait_for_all(self, ticket: _Ticket) -> None:
        self._is_stale = True
        self._waiters.append(_Waiter(self._authority.generation, ticket))

    def _answer(self, ticket: _Ticket, outcome: str, kind: Kind = Kind.OUTCOME) -> None:
        if self._links.get(ticket.link.number) is ticket.link:
            body = encode_ticket(ticket.number, outcome.encode())
            self._send(ticket.link, encode_message(kind, body))

    def _advance(self) -> None:
        """Everything that became possible or due: attempts to unlock, expiries, states, answers."""
        for ticket, is_unlocked in self._unlocks.advance(self._clock()):
            if is_unlocked:
                self._authority.unlocked()
                self._wait_for_all(ticket)
            else:
                self._answer(ticket, "wrong_passphrase")
        for ticket, word in self._board.advance(self._clock(), self._authority.remember_answers_s):
            self._answer(ticket, word, Kind.VERDICT)
        self._is_stale |= self._authority.expire()
        self._is_stale |= self._authority.advance_stores()
        # One state at a time: a burst of changes becomes few states, and no outbox grows.
        if self._is_stale and all(link.deadline is None for link in self._links.values()):
            self._publish()
        self._answer_waiters()

    def _publish(self) -> None:
        self._is_stale = False
        self._board.forget_answers()
        self._state = self._encode()
        for link in tuple(self._links.values()):
            self._tell_state(link, ACKNOWLEDGE_S if link.was_ready else START_S)

    def _answer_waiters(self) -> None:
        known = min((link.acknowledged for link in self._links.values()), default=0)
        ready = [waiter for waiter in self._waiters if waiter.generation <= known]
        self._waiters = [waiter for waiter in self._waiters if waiter.generation > known]
        for waiter in ready:
            self._answer(waiter.ticket, "ok")
        if known and not self._is_ready:
            self._is_ready = True
            self._around.notifier.tell("READY=1")

    # Zygote.

    def _fork_zygote(self) -> Zygote:
        closers = self._closers()
        if self._audit is not None:
            closers.append(self._audit.drop)
        line = self._audit.line if self._audit is not None else None
        around = self._around
        shared = Shared(
            *(self._listener.socket, self._cells, self._meters, line),
            *(around.reports_at is not None, self._rates, around.memory.wanted),
        )
        return start_zygote(shared, closers)

    def _closers(self) -> list[Callable[[], None]]:
        """What closes, in a forked process, what is the supervisor's alone."""
        closers = [link.channel.close for link in self._links.values()]
        if self._desk is not None:
            closers.append(self._desk.channel.close)
        closers += [self._listener.drop_lock, self._selector.close, self._signals.close]
        return [*closers, self._authority.forget_stores]

    def _watch_stores(self) -> None:
        """Their processes speak unasked; `_advance` listens."""
        descriptor = self._authority.stores_fileno()
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, lambda: None)

    def _watch_zygote(self) -> None:
        self._selector.register(self._zygote.channel, selectors.EVENT_READ, self._on_zygote)

    def _on_zygote(self) -> None:
        """It never speaks unasked: the zygote is gone.

        We have no thread and no loop, so another one can be forked; unlike the first, it has a copy
        of the keys, as every worker has.
        """
        self._selector.unregister(self._zygote.channel)
        self._zygote.close()
        if self._is_stopping:
            return
        LOG.error("zygote lost", extra={"fields": {"pid": self._zygote.pid}})
        self._zygote = self._fork_zygote()
        self._watch_zygote()

    # Audit.

    def _watch_audit(self) -> None:
        if self._audit is not None:
            self._selector.register(self._audit.life, selectors.EVENT_READ, self._on_audit_gone)

    def _on_audit_gone(self) -> None:
        """The writer died: another one goes on at the same pipe with a chain of its own."""
        audit = self._audit
        if audit is None:
            return
        self._selector.unregister(audit.life)
        LOG.error("audit writer lost")
        try:
            audit.start([*self._closers(), self._listener.socket.close, self._zygote.channel.close])
        except SecretiveError as error:
            audit.line.cells.failed()
            LOG.error("no audit log any more", extra={"fields": {"reason": error.message}})  # noqa: TRY400 - the reason is all
            return
        audit.say("writer_replaced")
        self._watch_audit()

    # Signals.

    def _on_signal(self) -> None:
        for wish in self._signals.read():
            if wish is Wish.RELOAD:
                self._reload()
            elif wish is Wish.DROP:
                self._authority.drop_client_keys()
                self._around.say("drop_client_keys")
                self._is_stale = True
            elif wish is Wish.SNAPSHOT and self._desk is not None:
                self._desk.write_snapshot()
            elif wish is Wish.STOP:
                self._stop()

    def _reload(self) -> None:
        """Read the configuration and the keys again and hand them to every worker."""
        if self._is_stopping:
            return
        self._authority.reconfigure(self._around.reload().config)
        self._books.reloaded()
        plan = self._around.plan
        if self._desk is None:
            self._spawn_desk()
        elif plan is not None:
            self._desk.tell_plan(plan)
        self._authority.refresh()
        self._is_stale = True
        LOG.info("keys read again", extra={"fields": {"generation": self._authority.generation}})

    def _stop(self) -> None:
        """Stop accepting and let workers finish; a second wish ends them at once."""
        if self._is_stopping:
            self._kill_at = self._clock()
            return
        self._is_stopping = True
        self._around.say("stop")
        self._around.notifier.tell("STOPPING=1")
        self._retries.clear()
        self._listener.close()
        drain_s = self._around.drain_timeout_s
        self._kill_at = self._clock() + drain_s + KILL_GRACE_S
        order = encode_message(Kind.DRAIN, encode_number(round(drain_s * 1000)))
        for link in tuple(self._links.values()):
            link.deadline = None
            self._send(link, order)

    def _end(self) -> None:
        self._board.close()
        for link in self._links.values():
            link.kill()
        if self._desk is not None:
            self._desk.kill()
        self._zygote.close()
        self._selector.close()
        self._authority.close_stores()


def run_supervised(listener: Listener, authority: Authority, around: Around) -> None:
    """Serve with workers; returns after a clean stop."""
    Supervisor(listener, authority, around=around).run()
