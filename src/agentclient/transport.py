"""A blocking connection to a Unix socket with a deadline on every step.

Rule for editors: no wait without a deadline, and no `OSError` leaves this module.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from typing import Final

from agentclient.address import check_length, explain
from agentclient.errors import AgentTimeout, AgentUnavailable

READ_BYTES: Final = 65536
"""Most bytes taken by one read; a list of several hundred keys fits."""

_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.1


def pauses(deadline: float) -> Iterator[float]:
    """Growing waits between attempts to connect, until `time.monotonic()` reaches the deadline.

    A full backlog refuses a non-blocking connect at once with EAGAIN instead of queueing it.
    """
    pause = _FIRST_PAUSE_S
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def open_socket(path: str) -> socket.socket:
    """A Unix stream socket that is not connected yet; says so where the system has none."""
    check_length(path)
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise AgentUnavailable("this system has no Unix sockets")
    return socket.socket(family, socket.SOCK_STREAM)


class UnixTransport:
    """One connected socket; not for use by two threads at once."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @classmethod
    def connect(cls, path: str, *, timeout_s: float) -> UnixTransport:
        """Connect, waiting while the backlog is full; raises `AgentUnavailable`."""
        waits = pauses(time.monotonic() + timeout_s)
        opened = open_socket(path)
        try:
            opened.settimeout(timeout_s)
            while True:
                try:
                    opened.connect(path)
                except BlockingIOError:
                    pause = next(waits, None)
                    if pause is None:
                        raise
                    time.sleep(pause)
                else:
                    return cls(opened)
        except OSError as error:
            opened.close()
            raise explain(path, error) from error
        except BaseException:
            opened.close()
            raise

    def send(self, data: bytes, *, deadline: float) -> None:
        """Write everything."""
        self._arm(deadline)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise _broken(error) from error

    def receive(self, *, deadline: float) -> bytes:
        """What has arrived, at least one byte; an end of stream is an error."""
        self._arm(deadline)
        try:
            data = self._socket.recv(READ_BYTES)
        except OSError as error:
            raise _broken(error) from error
        if not data:
            raise AgentUnavailable("the agent closed the connection")
        return data

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def _arm(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise AgentTimeout("the agent did not answer in time")
        self._socket.settimeout(left)


def _broken(error: OSError) -> AgentUnavailable:
    if isinstance(error, TimeoutError):
        return AgentTimeout("the agent did not answer in time")
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return AgentUnavailable("the agent closed the connection")
    return AgentUnavailable(f"the connection to the agent broke: {error.strerror or error}")
