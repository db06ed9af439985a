"""The supervisor: owns the socket and the agent's state, and keeps every worker alive and current.

Plain selectors, no threads, no event loop. This is the loop, with the zygote, the audit writer and
the signals; workers, reporter and changes have hands of their own (`secretivex.server.crew`). Rule
for editors: nothing here waits for another process.
"""

from __future__ import annotations

import contextlib
import logging
import math
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from secretivex.errors import SecretiveError
from secretivex.hardening import overwrite_freed_memory
from secretivex.metrics.cells import Cells
from secretivex.server.authority import Authority
from secretivex.server.control import Message
from secretivex.server.crew.changes import Changes
from secretivex.server.crew.reporter import Reporter
from secretivex.server.crew.workers import CrewHooks, Workers
from secretivex.server.judging.rates import RateTable
from secretivex.server.link import WorkerLink
from secretivex.server.listen_unix import Listener
from secretivex.server.report.books import Books
from secretivex.server.signals import Wish
from secretivex.server.surroundings.around import KILL_GRACE_S, Around
from secretivex.server.surroundings.notify import ready
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.worker.shared import Shared
from secretivex.server.zygote import Zygote, start_zygote

if TYPE_CHECKING:
    from secretivex.server.report.link import Reply

LOG = logging.getLogger("secretivex.server")

RETRY_S = 1.0
"""Pause before an audit writer or a zygote is tried again that could not be begun."""


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
        self._rates = RateTable()
        self._selector = selectors.DefaultSelector()
        self._kill_at: float | None = None
        self._writer_at: float | None = None
        self._zygote_at: float | None = None
        self._is_stopping = False
        self._reloads: list[tuple[int, Reply]] = []
        if around.signals is None:
            raise ValueError("a supervisor needs signals")
        self._signals = around.signals
        hooks = CrewHooks(self._zygote_of_now, self._hear, self._lost, self._gone)
        self._workers = Workers(hooks, self._selector, self._cells, self._meters, clock)
        self._changes = Changes(authority, self._workers)
        seat = authority.workers, self._zygote_of_now, self._selector, self._books
        self._reporter = Reporter(*seat, self._answer_desk, around.control)
        self._zygote = self._fork_zygote()
        self._selector.register(self._signals.socket, selectors.EVENT_READ, self._on_signal)
        self._watch_zygote()
        self._watch_audit()

    def run(self) -> None:
        """Serve; returns after a clean stop, with every worker gone."""
        overwrite_freed_memory(is_on=True)
        self._authority.refresh()
        self._workers.encode(self._authority.state())
        self._watch_stores()
        try:
            for number in range(self._authority.workers):
                self._workers.spawn(number)
            self._reporter.follow(self._around.plan)
            while not self._is_over():
                self._turn()
        finally:
            self._end()

    def _is_over(self) -> bool:
        """Whether everybody is gone; the reporter is the last, so that it can tell the end."""
        return self._is_stopping and not len(self._workers) and self._reporter.has_ended()

    def _turn(self) -> None:
        for key, mask in self._selector.select(self._patience()):
            if isinstance(key.data, WorkerLink):
                self._workers.on_ready(key.data, mask)
            else:
                key.data()
        self._act_on_deadlines()
        self._changes.advance(self._clock())
        self._answer_reloads()
        self._tell_ready()
        self._around.notifier.live()
        self._books.keep(self._clock())

    def _patience(self) -> float | None:
        """Seconds to the next deadline; None if there is none."""
        moments = [self._books.due_s]
        moments += [*self._workers.deadlines, *self._changes.due(self._clock())]
        again = (self._kill_at, self._writer_at, self._zygote_at)
        moments += [one for one in again if one is not None]
        until_s = (
            self._authority.until_expiry_s(),
            self._authority.until_stores_s(),
            self._around.notifier.until_due_s(),
        )
        moments += [self._clock() + seconds for seconds in until_s if seconds is not None]
        return max(0.0, min(moments) - self._clock()) if moments else None

    def _tell_ready(self) -> None:
        """Once: every worker answers."""
        if self._workers.known and not self._is_ready:
            self._is_ready = True
            self._around.notifier.tell(*ready())

    def _act_on_deadlines(self) -> None:
        self._workers.act_on_deadlines()
        if self._writer_at is not None and self._clock() >= self._writer_at:
            self._replace_writer()
        if self._zygote_at is not None and self._clock() >= self._zygote_at:
            self._replace_zygote()
        if self._kill_at is not None and self._clock() >= self._kill_at:
            if len(self._workers):
                self._workers.end()
                # Time for the reporter to put its own things away.
                self._kill_at = self._clock() + KILL_GRACE_S
            else:
                self._reporter.give_up()

    # What workers say, and what becomes of them.

    def _hear(self, link: WorkerLink, message: Message) -> None:
        self._changes.take(link, message, self._clock())

    def _gone(self, link: WorkerLink) -> None:
        self._changes.forget(link)

    def _lost(self, link: WorkerLink, reason: str) -> None:
        self._books.lost_worker()
        self._around.say("worker_lost", pid=link.pid, detail=reason)

    def _answer_desk(self, verb: str, reply: Reply) -> None:
        if verb == "reload":
            self._reload()
            self._reloads.append((self._authority.generation, reply))
            return
        workers = [
            {"number": link.number, "pid": link.pid, "ready": link.was_ready}
            for link in self._workers
        ]
        reply(self._books.status(workers, self._reporter.pid))

    def _answer_reloads(self) -> None:
        """Tell who asked for a reload what came of it, once every worker has it."""
        while self._reloads and self._reloads[0][0] <= self._workers.known:
            with contextlib.suppress(OSError, EOFError):  # who asked may be gone
                self._reloads.pop(0)[1](self._books.reload_answer())

    # Zygote.

    def _zygote_of_now(self) -> Zygote:
        return self._zygote

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
        closers = [link.channel.close for link in self._workers]
        closers += self._reporter.closers()
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
        self._replace_zygote()

    def _replace_zygote(self) -> None:
        """Have another one; tried until the system gives what that takes. Workers go on meanwhile."""
        self._zygote_at = None
        try:
            self._zygote = self._fork_zygote()
        except OSError as error:
            self._zygote_at = self._clock() + RETRY_S
            LOG.error("no zygote now", extra={"fields": {"reason": error.strerror}})  # noqa: TRY400 - the reason is all
            return
        self._watch_zygote()
        self._reporter.follow(self._around.plan)  # the one before may have had none to fork it

    # Audit.

    def _watch_audit(self) -> None:
        if self._audit is not None:
            self._selector.register(self._audit.life, selectors.EVENT_READ, self._on_audit_gone)

    def _on_audit_gone(self) -> None:
        """The writer died."""
        if self._audit is not None:
            self._selector.unregister(self._audit.life)
            LOG.error("audit writer lost")
            self._replace_writer()

    def _replace_writer(self) -> None:
        """Another one goes on at the same pipe with a chain of its own; tried until it can."""
        audit = self._audit
        if audit is None:
            return
        is_again, self._writer_at = self._writer_at is not None, None
        try:
            audit.start([*self._closers(), self._listener.socket.close, self._zygote.channel.close])
        except SecretiveError as error:
            audit.line.cells.failed()
            self._writer_at = self._clock() + RETRY_S
            if not is_again:
                LOG.error("no audit log now", extra={"fields": {"reason": error.message}})  # noqa: TRY400 - the reason is all
            return
        audit.say_replaced()
        self._watch_audit()

    # Signals.

    def _on_signal(self) -> None:
        for wish in self._signals.read():
            if wish is Wish.RELOAD:
                self._reload()
            elif wish is Wish.DROP:
                self._authority.drop_client_keys()
                self._around.say("drop_client_keys")
                self._changes.is_stale = True
            elif wish is Wish.SNAPSHOT:
                self._reporter.write_snapshot()
            elif wish is Wish.STOP:
                self._stop()

    def _reload(self) -> None:
        """Read the configuration and the keys again and hand them to every worker."""
        if self._is_stopping:
            return
        self._around.reload(self._authority.reconfigure)
        self._books.reloaded()
        self._reporter.follow(self._around.plan)
        self._authority.refresh()
        self._changes.is_stale = True
        LOG.info("keys read again", extra={"fields": {"generation": self._authority.generation}})

    def _stop(self) -> None:
        """Stop accepting and let workers finish; a second wish ends them at once."""
        if self._is_stopping:
            # What is in hand is recorded as cut off, so they may say that still.
            self._workers.drain(0)
            self._kill_at = min(self._kill_at or math.inf, self._clock() + KILL_GRACE_S)
            return
        self._is_stopping = True
        self._zygote_at = None
        self._around.say_stop()
        self._reporter.is_stopping = True
        self._listener.close()
        drain_s = self._around.drain_timeout_s
        self._kill_at = self._clock() + drain_s + KILL_GRACE_S
        self._workers.drain(drain_s)

    def _end(self) -> None:
        self._changes.close()
        self._workers.kill()
        self._reporter.kill()
        self._zygote.close()
        self._selector.close()
        self._authority.close_stores()


def run_supervised(listener: Listener, authority: Authority, around: Around) -> None:
    """Serve with workers; returns after a clean stop."""
    Supervisor(listener, authority, around=around).run()
