"""The clients of a load process, and which part of a scenario it has."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from secretivex.bench.scenario import Scenario

NS: Final = 1_000_000_000
"""Nanoseconds of a second."""

RESTING, CONNECTING, READING = range(3)
"""States of a client."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process has to do of a scenario."""

    scenario: Scenario
    index: int
    clients: int
    count: int
    rate_per_s: float
    begin_ns: int
    """On the monotonic clock, which all processes of a machine share."""

    @property
    def window_ns(self) -> int:
        """When the warm-up is over."""
        return self.begin_ns + int(self.scenario.warmup_s * NS)

    @property
    def end_ns(self) -> int:
        """After which nothing is due; far away where a count ends the run."""
        if self.scenario.count:
            return self.window_ns + 24 * 3600 * NS
        return self.window_ns + int(self.scenario.duration_s * NS)


class Client:
    """One connection at a time."""

    __slots__ = (
        "began_ns",
        "buffer",
        "connected",
        "due_ns",
        "is_queued",
        "rest_ns",
        "serial",
        "state",
    )

    def __init__(self) -> None:
        self.connected: socket.socket | None = None
        self.state = RESTING
        self.due_ns = 0
        self.began_ns = 0
        self.rest_ns = 0
        self.serial = 0
        self.buffer = b""
        self.is_queued = False
