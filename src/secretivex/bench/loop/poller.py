"""Which sockets have something to read: epoll, or what the system has instead."""

from __future__ import annotations

import select
import selectors
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Poller(Protocol):
    """Sockets by their descriptors."""

    def add(self, connected: socket.socket) -> None:
        """Watch a socket until it is closed or dropped."""
        ...

    def drop(self, connected: socket.socket) -> None:
        """Watch it no longer; called before it is closed."""
        ...

    def ready(self, timeout_s: float) -> Iterable[int]:
        """Descriptors that can be read."""
        ...


class EpollPoller:
    """Linux; a closed socket leaves by itself."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll

    def add(self, connected: socket.socket) -> None:
        """As the port says."""
        self._epoll.register(connected.fileno(), select.EPOLLIN)

    def drop(self, connected: socket.socket) -> None:
        """As the port says."""

    def ready(self, timeout_s: float) -> Iterable[int]:
        """As the port says."""
        return [fd for fd, _ in self._epoll.poll(timeout_s)]


class SelectorPoller:
    """Everywhere else."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector

    def add(self, connected: socket.socket) -> None:
        """As the port says."""
        self._selector.register(connected, selectors.EVENT_READ)

    def drop(self, connected: socket.socket) -> None:
        """As the port says."""
        self._selector.unregister(connected)

    def ready(self, timeout_s: float) -> Iterable[int]:
        """As the port says."""
        return [key.fd for key, _ in self._selector.select(timeout_s)]


@contextmanager
def open_poller() -> Iterator[Poller]:
    """The best one that there is."""
    if hasattr(select, "epoll"):
        with select.epoll() as epoll:
            yield EpollPoller(epoll)
    else:
        with selectors.DefaultSelector() as selector:
            yield SelectorPoller(selector)
