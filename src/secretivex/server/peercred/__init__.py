"""Who connected, and with which program: one module per way in which operating systems tell.

`read_peer(connected)` of each answers a `Peer` or raises OSError. `read_caller(descriptor, peer)`
answers a `Caller` with what can be told for certain; `Programs` tell the program alone, which takes
a tenth of the time. Neither raises anything.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Protocol

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer


def peer_reader() -> Callable[[socket.socket], Peer]:
    """What tells the peer of a connected unix socket, or raises OSError where the system does not."""
    if sys.platform == "linux":
        from secretivex.server.peercred.linux import read_peer as read
    elif sys.platform == "darwin":
        from secretivex.server.peercred.darwin import read_peer as read
    else:
        from secretivex.server.peercred.bsd import read_peer as read
    return read


def read_peer(connected: socket.socket) -> Peer:
    """The peer of one connected unix socket; raises OSError if the system does not tell."""
    return peer_reader()(connected)


def look_up(pid: int, uid: int) -> Caller:
    """A process by its number alone, which may be another's by now: to explain, not to decide."""
    if sys.platform == "linux":
        from secretivex.server.peercred.linux import look_up as look
    else:
        return UNKNOWN_CALLER
    return look(pid, uid)


def read_caller(descriptor: int, peer: Peer) -> Caller:
    """The program at the other end of a connected unix socket."""
    if sys.platform == "linux":
        from secretivex.server.peercred.linux import read_caller as read
    elif sys.platform == "darwin":
        from secretivex.server.peercred.darwin import read_caller as read
    else:
        return UNKNOWN_CALLER
    return read(descriptor, peer)


class Programs(Protocol):
    """What a worker knows of the programs of its callers, without those that started them."""

    def recall(self, peer: Peer, /) -> Peer:
        """The peer of a connection that is being taken, with its program if that is known."""
        ...

    def identify(self, connected: socket.socket, peer: Peer, /) -> Peer:
        """The peer of a connection with its program."""
        ...

    def close(self) -> None:
        """They are not asked for any more."""
        ...


class ForgetfulPrograms:
    """Looks up each caller."""

    def recall(self, peer: Peer, /) -> Peer:
        """As it is."""
        return peer

    def identify(self, connected: socket.socket, peer: Peer, /) -> Peer:
        """The peer with whatever the system tells."""
        caller = read_caller(connected.fileno(), peer)
        return Peer(peer.uid, peer.gid, peer.pid, caller)

    def close(self) -> None:
        """Nothing to let go of."""


def programs_of_callers() -> Programs:
    """Enough for records, for one worker."""
    if sys.platform == "linux":
        from secretivex.server.peercred.programs import LinuxPrograms as Known
    else:
        return ForgetfulPrograms()
    return Known()
