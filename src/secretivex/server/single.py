"""The agent in one process: what supervisor and worker do, on one loop (`workers = 1`).

Rule for editors: it answers exactly as several workers would; only who does the work differs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Protocol

from secretivex.engine import ChangeRequest
from secretivex.hardening import overwrite_freed_memory
from secretivex.lock import UnlockQueue
from secretivex.metrics.cells import Cells
from secretivex.server.authority import Authority
from secretivex.server.confirm.asked import Asked
from secretivex.server.confirm.board import Board
from secretivex.server.report.books import Books
from secretivex.server.report.vitals import EVERY_S
from secretivex.server.signals import TAKEN, Wish
from secretivex.server.sockets.door import OpenDoor
from secretivex.server.surroundings.around import Around
from secretivex.server.surroundings.notify import Notifier, ready
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.worker.process import new_loop
from secretivex.server.worker.serving import Worker
from secretivex.server.worker.shared import Shared
from secretivex.stores.token.loaded import LoadedModule
from sshwire.agent.requests import UnlockRequest

if TYPE_CHECKING:
    from secretivex.server.audit.process import AuditLog
    from secretivex.server.listen_unix import Listener
    from secretivex.server.report.desk import Desk

LOG = logging.getLogger("secretivex.server")


def run_single(listener: Listener, authority: Authority, around: Around) -> None:
    """Serve; returns after a clean stop."""
    loop = new_loop()
    try:
        loop.run_until_complete(_serve(loop, listener, authority, around))
    finally:
        loop.close()


async def _serve(
    loop: asyncio.AbstractEventLoop, listener: Listener, authority: Authority, around: Around
) -> None:
    alone = Alone(loop, listener, authority, around)
    for number in TAKEN:
        if around.signals is not None:
            loop.add_signal_handler(number, alone.obey, around.signals.wish_of(number))
    audit = around.audit
    if audit is not None:
        loop.add_reader(audit.life.fileno(), _give_up_audit, loop, audit)
    authority.refresh()
    alone.publish()
    alone.watch_stores()
    if alone.desk is not None:
        await alone.desk.open()
        alone.keep_books()
    around.notifier.tell(*ready())
    _keep_alive(loop, around.notifier)
    for wish in around.signals.read() if around.signals else ():  # those before the handlers
        alone.obey(wish)
    try:
        await alone.worker.drained
    finally:
        alone.close_board()
        alone.worker.close()
        if alone.desk is not None:
            alone.desk.close()
        alone.close_stores()


def _keep_alive(loop: asyncio.AbstractEventLoop, notifier: Notifier) -> None:
    """Give signs of life as long as the loop turns."""
    notifier.live()
    if notifier.period_s is not None:
        loop.call_later(notifier.until_due_s() or 0.0, _keep_alive, loop, notifier)


def _give_up_audit(loop: asyncio.AbstractEventLoop, audit: AuditLog) -> None:
    """The writer died, and a process with threads cannot fork another one safely."""
    loop.remove_reader(audit.life.fileno())
    audit.line.cells.failed()
    audit.count_lost()
    LOG.error("audit writer lost: start the agent again to have one")


class Entrance(Protocol):
    """Where clients come in: a listening socket, or a door of another kind."""

    @property
    def socket(self) -> socket.socket | None:
        """The socket that listens."""
        ...

    @property
    def door(self) -> OpenDoor | None:
        """What lets clients in where there is no socket."""
        ...

    def close(self) -> None:
        """Let nobody in any more."""
        ...


class Alone:
    """The worker and the authority of one process.

    Reading keys blocks the loop; who wants no pause has more than one worker.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Entrance,
        authority: Authority,
        around: Around,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._authority = authority
        self._around = around
        self._unlocks: UnlockQueue[int] = UnlockQueue(authority.lock)
        self._expiry: asyncio.TimerHandle | None = None
        self._restart: asyncio.TimerHandle | None = None
        line = around.audit.line if around.audit is not None else None
        meters = Cells(3)
        shared = Shared(listener.socket, ConnectionCells(1), meters, line, door=listener.door)
        self.worker = Worker(loop, shared, 0, self._ask)
        self.worker.confirming.people = self
        self._board: Board[int] = Board(authority.ask_person)
        self._looking: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._whole = asyncio.Event()
        """Not set while a reload's state waits for stores; the old one serves until then."""
        self._whole.set()
        self._books = Books(authority, around, meters.meter(1))
        self.desk: Desk | None = None
        self._following: asyncio.Task[None] | None = None
        plan = around.plan
        if plan is not None:
            from secretivex.server.report.desk import Desk

            control = None if around.control is None else around.control.socket
            self.desk = Desk(plan, meters, meters.meter(2), self._tell, control)

    def obey(self, wish: Wish | None) -> None:
        """Do what a signal asks for."""
        if wish is Wish.RELOAD:
            self._reload()
        elif wish is Wish.DROP:
            self._authority.drop_client_keys()
            self._around.say("drop_client_keys")
            self.publish()
        elif wish is Wish.SNAPSHOT and self.desk is not None:
            self.desk.write("snapshot")
        elif wish is Wish.STOP:
            self._stop()

    def _stop(self) -> None:
        """Stop accepting and finish what is in hand; a second wish ends it at once."""
        if self._is_stopping:
            self.worker.cut_off()
            return
        self._is_stopping = True
        self._whole.set()
        self._around.say_stop()
        self.worker.drain(self._around.drain_timeout_s)
        self._listener.close()

    def _reload(self) -> None:
        if self._is_stopping:
            return
        self._around.reload(self._authority.reconfigure)
        self._authority.refresh()
        self._whole.clear()
        self._advance_stores()
        self._books.reloaded()
        plan = self._around.plan
        if self.desk is not None and plan is not None:
            self._following = self._loop.create_task(self.desk.follow(plan))
        fields = {"generation": self._authority.generation}
        LOG.info("keys read again", extra={"fields": fields})

    def keep_books(self) -> None:
        """Put down from time to time what is served, for those who ask for metrics alone."""
        self._books.note_state()
        self._loop.call_later(EVERY_S, self.keep_books)

    async def _tell(self, verb: str) -> dict[str, Any]:
        """What the desk asks for."""
        if verb == "reload":
            self._reload()
            await self._whole.wait()
            return self._books.reload_answer()
        self._books.note_state()
        return self._books.status([{"number": 0, "pid": os.getpid(), "ready": True}], 0)

    def ask_people(self, ticket: int, asked: Asked) -> None:
        """Have a person asked."""
        self._board.ask(ticket, asked, self._loop.time())
        self._look_soon()

    def forget_question(self, ticket: int) -> None:
        """Nobody waits for it any more."""
        self._board.forget(ticket)
        self._look_soon()

    def _look_soon(self) -> None:
        """In a turn of the loop of its own, as in `_ask`."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._loop.call_later(0, self._look_at_board)

    def _look_at_board(self) -> None:
        now = self._loop.time()
        for ticket, word in self._board.advance(now, self._authority.remember_answers_s):
            self.worker.confirming.end(ticket, word)
        due = self._board.due(now)
        self._looking = None if due is None else self._loop.call_at(due, self._look_at_board)

    def close_board(self) -> None:
        """Take every question away."""
        self._board.close()

    def publish(self) -> None:
        """Have the worker answer from what the authority knows now."""
        self._board.forget_answers()
        overwrite_freed_memory(is_on=True)
        self.worker.apply(self._authority.state())
        overwrite_freed_memory(is_on=False)
        if self._expiry is not None:
            self._expiry.cancel()
        until_s = self._authority.until_expiry_s()
        self._expiry = None if until_s is None else self._loop.call_later(until_s, self._expire)

    def watch_stores(self) -> None:
        """From now on take in what the stores' processes say."""
        descriptor = self._authority.stores_fileno()
        if descriptor is not None:
            self._loop.add_reader(descriptor, self._advance_stores)
            self._advance_stores()

    def _advance_stores(self) -> None:
        if self._authority.advance_stores():
            self._whole.clear()
        if not self._whole.is_set() and not self._authority.is_waiting:
            self._whole.set()
            self.publish()
        if self._restart is not None:
            self._restart.cancel()
        until_s = self._authority.until_stores_s()
        self._restart = (
            None if until_s is None else self._loop.call_later(until_s, self._advance_stores)
        )

    def close_stores(self) -> None:
        """End the stores' processes."""
        descriptor = self._authority.stores_fileno()
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
        if self._restart is not None:
            self._restart.cancel()
        self._authority.close_stores()

    def _expire(self) -> None:
        self._authority.expire()
        self.publish()

    def _ask(self, ticket: int, request: ChangeRequest | LoadedModule) -> None:
        # In a turn of the loop of its own: an answer inside the question would nest without end.
        self._loop.call_soon(self._make, ticket, request)

    def _make(self, ticket: int, request: ChangeRequest | LoadedModule) -> None:
        if isinstance(request, UnlockRequest):
            self._unlocks.submit(ticket, request.passphrase)
            self._advance()
            return
        outcome = self._authority.change(request)
        if outcome == "ok":
            self.publish()
        self.worker.changes.end(ticket, outcome)

    def _advance(self) -> None:
        for ticket, is_unlocked in self._unlocks.advance(self._loop.time()):
            if is_unlocked:
                self._authority.unlocked()
                self.publish()
            self.worker.changes.end(ticket, "ok" if is_unlocked else "wrong_passphrase")
        if self._unlocks.due is not None:
            self._loop.call_at(self._unlocks.due, self._advance)
