"""The supervisor's end of one worker: its process, its channel, what it owes.

Rule for editors: nothing here blocks; what cannot be written now stays in `outbox`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable

from secretivex.server.control import (
    MAX_WORKER_FRAME_BYTES,
    Kind,
    Message,
    MessageReader,
    parse_number,
)
from secretivex.server.surroundings.starving import (
    MAX_EXCUSED_S,
    ran_ns_if_ready,
    starved_s,
)
from sshwire.errors import WireError

_READ_BYTES = 65536

LOOK_S = 0.05
"""Between two looks at one that is overdue, and that perhaps waits for a core."""


class WorkerLink:
    """One worker. `deadline` is when it must have acknowledged; `was_ready` once it ever did.

    `acknowledged` is the last generation that it answers from. `pulse_by` is when it must have said
    anything at all.
    """

    def __init__(
        self,
        number: int,
        pid: int,
        channel: socket.socket,
        starved: Callable[[int], float] = starved_s,
        ready: Callable[[int], int | None] = ran_ns_if_ready,
    ) -> None:
        self.number = number
        self.pid = pid
        self.channel = channel
        self.outbox = bytearray()
        self.deadline: float | None = None
        self._starved = starved
        self._ready = ready
        self._looks = 0
        self._ran_ns: int | None = None
        self._starved_before_s = self._excused_s = 0.0
        self.pulse_by: float | None = None
        self._pulse_s = self._pulse_starved_s = 0.0
        self.was_ready = False
        self.acknowledged = 0
        self._awaited = 0
        self._reader = MessageReader(MAX_WORKER_FRAME_BYTES)
        self._pidfd = open_pidfd(pid)
        channel.setblocking(False)

    def expect(self, generation: int, deadline: float) -> None:
        """From now on wait for this generation's acknowledgement."""
        self._awaited = generation
        self.deadline = deadline
        self._looks = 0
        self._starved_before_s, self._excused_s = self._starved(self.pid), 0.0

    def is_overdue(self, now: float) -> bool:
        """Whether it had its time and did not acknowledge; waiting for a core does not count."""
        if self.deadline is None or now < self.deadline:
            return False
        excused_s = min(self._starved(self.pid) - self._starved_before_s, MAX_EXCUSED_S)
        self.deadline += max(0.0, excused_s - self._excused_s)
        self._excused_s = max(self._excused_s, excused_s)
        return now >= self.deadline and not self._waits_for_a_core(now)

    def _waits_for_a_core(self, now: float) -> bool:
        """Whether it is ready and did not run since the last look; it is looked at again then."""
        before_ns, self._ran_ns = self._ran_ns, self._ready(self.pid)
        self._looks += 1
        is_first = self._looks == 1
        if self._ran_ns is None or not (is_first or self._ran_ns == before_ns):
            return False
        if self._looks * LOOK_S > MAX_EXCUSED_S:
            return False
        self.deadline = now + LOOK_S
        return True

    def expect_pulse(self, now: float, patience_s: float) -> None:
        """From now on wait for a sign of life."""
        self.pulse_by, self._pulse_s = now + patience_s, patience_s
        self._pulse_starved_s = self._starved(self.pid)

    def has_no_pulse(self, now: float) -> bool:
        """Whether it had its time, and a core for most of it, and said nothing."""
        if self.pulse_by is None or now < self.pulse_by:
            return False
        if self._starved(self.pid) - self._pulse_starved_s > self._pulse_s / 2:
            self.expect_pulse(now, self._pulse_s)
            return False
        return True

    def postpone(self, seconds: float) -> None:
        """Whatever it owes, it has so much longer for."""
        if self.deadline is not None:
            self.deadline += seconds
        if self.pulse_by is not None:
            self.pulse_by += seconds

    def write(self) -> None:
        """Send what the channel takes; raises OSError when it is broken."""
        with contextlib.suppress(BlockingIOError):
            while self.outbox:
                sent = self.channel.send(self.outbox)
                del self.outbox[:sent]

    def read(self) -> tuple[Message, ...]:
        """Take in what it says, answers its CHANGEs; raises EOFError at its end, `WireError` for nonsense."""
        try:
            data = self.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return ()
        if not data:
            raise EOFError
        self.pulse_by = None
        changes: list[Message] = []
        for message in self._reader.receive(data):
            kind, body = message
            if kind in (Kind.CHANGE, Kind.MODULE, Kind.QUESTION, Kind.FORGET):
                changes.append(message)
            elif kind is Kind.ACKNOWLEDGE:
                self._acknowledge(parse_number(body))
            elif kind is not Kind.ALIVE:
                raise WireError(f"a worker may not send {kind.name}")
        return tuple(changes)

    def _acknowledge(self, generation: int) -> None:
        self.acknowledged = generation
        if generation == self._awaited:
            self.deadline = None
            self.was_ready = True

    def kill(self) -> None:
        """End the process, if it has not ended, and let go of it.

        Workers are the zygote's children, so their numbers may be used again: where the system has
        process descriptors, those are certain.
        """
        self.channel.close()
        with contextlib.suppress(OSError):
            if self._pidfd is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                send_kill(self._pidfd)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def open_pidfd(pid: int) -> int | None:
    """A process descriptor, where the system has them: a number may be used again."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def send_kill(pidfd: int) -> None:
    """End the very process of a descriptor."""
    if sys.platform == "linux":
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
