"""Telling systemd how the agent is: sd_notify(3), sd_watchdog_enabled(3).

Rule for editors: nothing here may ever fail the agent; a manager that does not listen is ignored.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Speaks to the service manager that started us, if one did."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self.period_s = watchdog_period_s(environ, os.getpid() if pid is None else pid)
        """Seconds between two signs of life; None if nobody waits for them."""
        self._next = clock()

    def tell(self, *lines: str) -> None:
        """Send assignments such as `READY=1`."""
        if not self._address.startswith(("/", "@")):
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        with contextlib.suppress(OSError), _datagram_socket() as connected:
            connected.sendto("\n".join(lines).encode(), address)

    def until_due_s(self) -> float | None:
        """Seconds until the next sign of life is due."""
        return None if self.period_s is None else max(0.0, self._next - self._clock())

    def live(self) -> None:
        """Give a sign of life if one is due; called whenever the main loop turns."""
        if self.period_s is not None and self._clock() >= self._next:
            self._next = self._clock() + self.period_s
            self.tell("WATCHDOG=1")


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def watchdog_period_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Half of the time that the manager waits, as sd_watchdog_enabled(3) advises."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdecimal()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 2_000_000


def reloading(clock_ns: Callable[[], int] = time.monotonic_ns) -> tuple[str, str]:
    """What is said before a reload; READY=1 after it."""
    return ("RELOADING=1", f"MONOTONIC_USEC={clock_ns() // 1000}")


MAX_STATUS = 200
"""Characters of a status that are told."""


def ready(rejected: str = "") -> tuple[str, str]:
    """What is said once it serves, and after a reload; `rejected` is why that changed nothing."""
    # One line of the notice is one assignment, whatever a reason holds.
    reason = " ".join(rejected.split())[:MAX_STATUS]
    what = f"serving; the new configuration was rejected: {reason}" if reason else "serving"
    return "READY=1", f"STATUS={what}"


def stopping(drain_s: float) -> tuple[str, str, str]:
    """What is said at the end; a drain longer than the unit's TimeoutStopSec= is asked for."""
    microseconds = round(drain_s * 1_000_000)
    return "STOPPING=1", "STATUS=finishing", f"EXTEND_TIMEOUT_USEC={microseconds}"
