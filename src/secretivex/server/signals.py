"""Signals as wishes that can be selected on: nothing is done inside a handler.

SIGTERM stops, and SIGINT where there is a terminal; SIGHUP reads keys again, or stops, as ssh-agent does. SIGUSR1 forgets the
keys that clients added. SIGUSR2 writes a metrics snapshot.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from enum import Enum
from typing import Literal

Hangup = Literal["reload", "stop"]
Interrupt = Literal["stop", "ignore"]


class Wish(Enum):
    """What a signal asks for."""

    STOP = "stop"
    RELOAD = "reload"
    DROP = "drop"
    SNAPSHOT = "snapshot"


_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")

TAKEN = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""Those of them that this system has."""


class SignalPipe:
    """Turns the signals of this process into readable bytes."""

    def __init__(self, hangup: Hangup, interrupt: Interrupt = "stop") -> None:
        self._hangup = hangup
        self._interrupt = interrupt
        self.socket, self._end = socket.socketpair()
        self.socket.setblocking(False)
        self._end.setblocking(False)
        signal.set_wakeup_fd(self._end.fileno(), warn_on_full_buffer=False)
        for number in TAKEN:
            signal.signal(number, lambda *_: None)

    def read(self) -> tuple[Wish, ...]:
        """What was asked since the last call, in order."""
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = self.socket.recv(4096)
        wishes = map(self.wish_of, numbers)
        return tuple(wish for wish in wishes if wish is not None)

    def wish_of(self, number: int) -> Wish | None:
        """What a signal means."""
        if number == signal.SIGTERM or (number == signal.SIGINT and self._interrupt == "stop"):
            return Wish.STOP
        if number == signal.SIGUSR1:
            return Wish.DROP
        if number == signal.SIGUSR2:
            return Wish.SNAPSHOT
        if number == signal.SIGHUP:
            return Wish.RELOAD if self._hangup == "reload" else Wish.STOP
        return None

    def close(self) -> None:
        """Take no more; later signals have no effect."""
        signal.set_wakeup_fd(-1)
        self.socket.close()
        self._end.close()
