"""Waits on a socket that a deadline ends, or a client that went away.

Rule for editors: no wait is longer than `POLL_S` before it is asked whether anybody still wants it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from secretivex.stores.token.errors import TokenError

POLL_S = 0.1
"""How soon a wait for an answer that nobody wants any more is given up."""

Wanted = Callable[[], bool]


def always() -> bool:
    """For a wait that only its deadline ends."""
    return True


def receive_some(connection: socket.socket, most: int, end: float, is_wanted: Wanted) -> bytes:
    """What comes next, b"" once the other side closed.

    Raises TimeoutError at `end` on the monotonic clock, `TokenError` when nobody wants it any more.
    """
    while True:
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(min(POLL_S, remaining))
        try:
            return connection.recv(most)
        except TimeoutError:
            if not is_wanted():
                raise TokenError("no_longer_wanted", "the client went away") from None
