"""The workers of one agent: made, told the state, replaced when they do not answer.

Rule for editors: nothing here waits for a worker; one that does not acknowledge in time is killed,
and another one gets the whole state.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from secretivex.metrics.cells import Cells
from secretivex.server.control import Kind, Message, encode_message, encode_number
from secretivex.server.link import WorkerLink
from secretivex.server.report.vitals import OF_NOW
from secretivex.server.state import WorkerState, encode_state
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.zygote import Zygote
from sshwire.errors import WireError

LOG = logging.getLogger("secretivex.server")

ACKNOWLEDGE_S = 0.5
"""How long a worker may take to answer from a new state, the time it waits for a core apart."""

ACKNOWLEDGE_PER_KEY_S = 0.002
"""More for each key, since a worker loads them all."""

START_S = 10.0
"""How long a new worker may take to its first acknowledgement."""

PULSE_EVERY_S = 10.0
"""How often a worker is asked whether its loop turns."""

PULSE_PATIENCE_S = 20.0
"""How long it may take to answer that: with the pause before, as long as systemd waits for us."""

AWAY_S = 2.0
"""A deadline that is seen so late was missed by us: we were stopped, or the machine was."""

RETURN_S = 1.0
"""What workers get then to answer, for they were stopped too."""

RETRY_S = 1.0
"""Pause before a worker is made again that never got to its first acknowledgement."""


class CrewHooks(NamedTuple):
    """What the workers' hand asks of its owner: the zygote of now, and to hear of two things."""

    zygote: Callable[[], Zygote]
    hear: Callable[[WorkerLink, Message], None]
    lost: Callable[[WorkerLink, str], None]
    """Called when a worker is gone that was not told to go."""
    gone: Callable[[WorkerLink], None]
    """Called when a worker is gone, whatever the reason."""


class Workers:
    """All of them; `is_stopping` once nobody is replaced any more."""

    def __init__(
        self,
        hooks: CrewHooks,
        selector: selectors.BaseSelector,
        cells: ConnectionCells,
        meters: Cells,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hooks = hooks
        self._selector = selector
        self._cells = cells
        self._meters = meters
        self._clock = clock
        self._links: dict[int, WorkerLink] = {}
        self._retries: dict[int, float] = {}
        self._state, self._generation, self._keys = b"", 0, 0
        self._next_pulse = clock() + PULSE_EVERY_S
        self.is_stopping = False

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[WorkerLink]:
        return iter(tuple(self._links.values()))

    @property
    def deadlines(self) -> list[float]:
        """The moments at which `act_on_deadlines` has something to do."""
        owed = self._owed()
        owed += [] if self.is_stopping else [self._next_pulse]
        return [*owed, *self._retries.values()]

    def _owed(self) -> list[float]:
        both = ((link.deadline, link.pulse_by) for link in self._links.values())
        return [moment for pair in both for moment in pair if moment is not None]

    @property
    def is_settled(self) -> bool:
        """Whether every worker answers from the state that it was told last."""
        return all(link.deadline is None for link in self._links.values())

    @property
    def known(self) -> int:
        """The newest generation that every worker answers from; 0 if there is none."""
        return min((link.acknowledged for link in self._links.values()), default=0)

    def encode(self, state: WorkerState) -> None:
        """What workers are told from now on."""
        self._generation, self._keys = state.generation, len(state.keys)
        self._state = encode_message(Kind.STATE, encode_state(state))

    def publish(self, state: WorkerState) -> None:
        """Tell a new state to all."""
        self.encode(state)
        for link in self:
            self._tell_state(link, ACKNOWLEDGE_S if link.was_ready else START_S)

    def spawn(self, number: int) -> None:
        """Have the zygote make a worker; tried again after a pause if it cannot."""
        self._retries.pop(number, None)
        self._cells.set(number, 0)
        zygote = self._hooks.zygote()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._retry(number, error)
            return
        with theirs:
            try:
                pid = zygote.spawn(number, theirs)
            except OSError as error:
                # Whatever it would still answer belongs to this request: have a new zygote.
                zygote.kill()
                ours.close()
                self._retry(number, error)
                return
        link = WorkerLink(number, pid, ours)
        self._links[number] = link
        self._selector.register(ours, selectors.EVENT_READ, link)
        self._tell_state(link, START_S)

    def _retry(self, number: int, error: OSError) -> None:
        self._retries[number] = self._clock() + RETRY_S
        LOG.error("cannot make a worker", extra={"fields": {"reason": str(error)}})

    def _tell_state(self, link: WorkerLink, patience_s: float) -> None:
        patience_s += ACKNOWLEDGE_PER_KEY_S * self._keys
        link.expect(self._generation, self._clock() + patience_s)
        self.send(link, self._state)

    def has(self, link: WorkerLink) -> bool:
        """Whether it is there still."""
        return self._links.get(link.number) is link

    def send(self, link: WorkerLink, data: bytes) -> None:
        """Write what its channel takes; the rest follows."""
        link.outbox += data
        self.on_ready(link, selectors.EVENT_WRITE)

    def on_ready(self, link: WorkerLink, mask: int) -> None:
        """Its channel can be read or written."""
        try:
            if mask & selectors.EVENT_WRITE:
                link.write()
            if mask & selectors.EVENT_READ:
                for message in link.read():
                    self._hooks.hear(link, message)
        except (OSError, EOFError, WireError) as error:
            self.replace(link, f"{type(error).__name__}: {error}" if str(error) else "it ended")
            return
        # An answer that could not be written may have shown meanwhile that the worker is gone.
        if self.has(link):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.outbox else 0)
            self._selector.modify(link.channel, events, link)

    def replace(self, link: WorkerLink, reason: str) -> None:
        """Make sure that a worker is gone; unless we stop, have another one."""
        if not self.has(link):
            return
        self._selector.unregister(link.channel)
        del self._links[link.number]
        link.kill()
        self._hooks.gone(link)
        self._cells.set(link.number, 0)
        self._meters.meter(link.number).clear(*OF_NOW)
        if self.is_stopping:
            return
        fields = {"worker": link.number, "pid": link.pid, "reason": reason}
        LOG.error("worker lost", extra={"fields": fields})
        self._hooks.lost(link, reason)
        if link.was_ready:
            self.spawn(link.number)
        else:
            self._retries[link.number] = self._clock() + RETRY_S

    def act_on_deadlines(self) -> None:
        """Replace who owes an acknowledgement; make again who could not be made."""
        now = self._clock()
        away_s = now - min(self._owed(), default=now)
        for link in self:
            if away_s > AWAY_S:
                link.postpone(away_s + RETURN_S)
            elif link.is_overdue(now):
                self.replace(link, "it did not acknowledge in time")
            elif link.has_no_pulse(now):
                self.replace(link, "it hangs")
        self._ask_pulses(now)
        for number, moment in tuple(self._retries.items()):
            if now >= moment and not self.is_stopping:
                self.spawn(number)

    def _ask_pulses(self, now: float) -> None:
        """Those who owe nothing are asked for a sign of life from time to time."""
        if now < self._next_pulse or self.is_stopping:
            return
        self._next_pulse = now + PULSE_EVERY_S
        for link in self:
            if link.deadline is None and link.pulse_by is None:
                link.expect_pulse(now, PULSE_PATIENCE_S)
                self.send(link, encode_message(Kind.PULSE))

    def drain(self, drain_s: float) -> None:
        """Have all finish and go; nobody is made again."""
        self.is_stopping = True
        self._retries.clear()
        order = encode_message(Kind.DRAIN, encode_number(round(drain_s * 1000)))
        for link in self:
            link.deadline = link.pulse_by = None
            self.send(link, order)

    def end(self) -> None:
        """End those that had their time to finish."""
        for link in self:
            LOG.warning("worker killed", extra={"fields": {"worker": link.number}})
            self.replace(link, "it did not end in time")

    def kill(self) -> None:
        """Leave nobody behind."""
        for link in self:
            link.kill()
