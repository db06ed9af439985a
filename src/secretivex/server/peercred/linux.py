"""SO_PEERCRED of unix(7): the credentials of the process that called connect."""

from __future__ import annotations

import socket
import struct

from secretivex.peer import Peer

_UCRED = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""

_SO_PEERCRED = 17
"""asm-generic/socket.h; the socket module names it on Linux only."""


def read_peer(connected: socket.socket) -> Peer:
    """The peer as it was when it connected."""
    pid, uid, gid = _UCRED.unpack(
        connected.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _UCRED.size)
    )
    return Peer(uid=uid, gid=gid, pid=pid)
