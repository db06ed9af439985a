"""Ports for servers that bind them by themselves, and later than we choose them."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""From these the system takes a port for every connection that is made meanwhile."""

_LINUX_DEFAULT = (32_768, 60_999)

_taken: set[int] = set()


def free_port(*addresses: str) -> int:
    """A port that no process has on any of the addresses; never the same twice."""
    low, high = _LINUX_DEFAULT
    if _GIVEN_OUT.exists():
        low, high = map(int, _GIVEN_OUT.read_text().split())
    # Not by the tests' own chance, which begins alike in every process that runs tests.
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.randrange(10_000, 65_536)
        if not low <= port <= high and port not in _taken and _is_free(port, addresses):
            _taken.add(port)
            return port
    raise AssertionError(f"no port is free on {addresses}")


def _is_free(port: int, addresses: tuple[str, ...]) -> bool:
    with ExitStack() as stack:
        try:
            for address in addresses or ("127.0.0.1",):
                stack.enter_context(socket.socket()).bind((address, port))
        except OSError:
            return False
    return True
