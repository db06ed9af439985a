"""Who connected, and with which program: one module per way in which operating systems tell.

`read_peer(connected)` of each answers a `Peer` or raises OSError. `read_caller(descriptor, peer)`
answers a `Caller` with what can be told for certain, `read_program` one with its program alone,
which takes a tenth of the time; neither raises anything.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

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


def read_program(connected: socket.socket, peer: Peer) -> Caller:
    """The same without those that started it: enough for a record."""
    if sys.platform == "linux":
        from secretivex.server.peercred.linux import read_program as read
    else:
        return read_caller(connected.fileno(), peer)
    return read(connected, peer)
