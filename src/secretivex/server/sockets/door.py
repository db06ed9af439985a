"""Where clients come in, as a worker sees it: its listening socket, or a named pipe.

Rule for editors: a door lets in whom it has found out about; `welcome` is asked for nobody else.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from secretivex.peer import Peer
from secretivex.server.sockets.wire import Receiver


class Door(Protocol):
    """Lets clients in while it is open."""

    def start(self, max_connections: int) -> None:
        """Open, or go on with another limit; 0 is none of the configuration's."""
        ...

    def stop(self) -> None:
        """Let nobody in any more."""
        ...

    def ease(self) -> None:
        """A client has gone."""
        ...


class Guests(Protocol):
    """The worker, as a door sees it."""

    def welcome(self, peer: Peer) -> Receiver:
        """A connection for an admitted peer; counted from now on."""
        ...

    def turn_away(self, why: str, peer: Peer | None) -> None:
        """Count and record a connection that is not let in."""
        ...

    def begin_look(self) -> None:
        """What is received next came now."""
        ...


class OpenDoor(Protocol):
    """Makes the door of a worker, on its loop."""

    def __call__(self, loop: asyncio.AbstractEventLoop, guests: Guests, /) -> Door:
        """The door; not open yet."""
        ...
