"""The supervisor's hand on the reporter: the process that tells of the agent to those who ask.

Rule for editors: without a reporter the agent serves on; one that cannot live is not made for ever.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable

from secretivex.server.listen_unix import Listener
from secretivex.server.report.books import Books
from secretivex.server.report.entrance import open_control
from secretivex.server.report.link import Answer, DeskLink
from secretivex.server.report.plan import ReportPlan
from secretivex.server.zygote import Zygote
from sshwire.errors import WireError

LOG = logging.getLogger("secretivex.server")


class Reporter:
    """One reporter at a time, or none; `number` is what the zygote knows it by."""

    def __init__(
        self,
        number: int,
        zygote: Callable[[], Zygote],
        selector: selectors.BaseSelector,
        books: Books,
        answer: Answer,
        control: Listener | None,
    ) -> None:
        self._number = number
        self._zygote = zygote
        self._selector = selector
        self._books = books
        self._answer = answer
        self._control = control
        self._desk: DeskLink | None = None
        self._plan: ReportPlan | None = None
        self.is_stopping = False

    @property
    def pid(self) -> int:
        """Its process; 0 if there is none."""
        return 0 if self._desk is None else self._desk.pid

    def follow(self, plan: ReportPlan | None) -> None:
        """Report by this plan from now on; one that was lost is made again."""
        self._plan = plan
        if self._desk is None:
            if self._control is None and plan is not None:
                self._control = open_control(plan.socket_path)
            self._spawn()
        elif plan is not None:
            self._desk.tell_plan(plan)

    def _spawn(self) -> None:
        plan = self._plan
        if plan is None or self.is_stopping:
            return
        control = [] if self._control is None else [self._control.socket]
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                pid = self._zygote().spawn(self._number, theirs, *control)
        except OSError as error:
            # Until the next reload, as for one that cannot live.
            self._close_control()
            LOG.error("no reporter", extra={"fields": {"reason": str(error)}})  # noqa: TRY400 - the reason is all
            return
        desk = self._desk = DeskLink(pid, ours, self._answer)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._on_ready(desk))
        desk.tell_plan(plan)

    def _on_ready(self, desk: DeskLink) -> None:
        try:
            desk.on_ready()
        except (OSError, EOFError, WireError):
            self._lose(desk)

    def _lose(self, desk: DeskLink) -> None:
        self._selector.unregister(desk.channel)
        desk.kill()
        self._desk = None
        if not self.is_stopping:
            LOG.error("reporter lost", extra={"fields": {"pid": desk.pid}})
            # Made again with the next reload: one that cannot live must not be forked for ever.
            if self._books.has_lost_reporter():
                self._close_control()
            else:
                self._spawn()

    def _close_control(self) -> None:
        """Let nobody wait there for an answer that does not come."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def write_snapshot(self) -> None:
        """Have a snapshot written."""
        if self._desk is not None:
            self._desk.write_snapshot()

    def has_ended(self) -> bool:
        """Whether it is gone; it is told to go, and may write its last snapshot first."""
        if self._desk is not None:
            self._desk.end()
        return self._desk is None

    def give_up(self) -> None:
        """Its time to end is over."""
        if self._desk is not None:
            self._lose(self._desk)

    def kill(self) -> None:
        """Leave nobody behind."""
        if self._desk is not None:
            self._desk.kill()
        self._close_control()

    def closers(self) -> list[Callable[[], None]]:
        """What closes, in a forked process, what is the supervisor's alone."""
        closers = [] if self._desk is None else [self._desk.channel.close]
        if self._control is not None:
            closers += [self._control.socket.close, self._control.drop_lock]
        return closers
