"""Who connected: one module per way in which operating systems tell.

`read_peer(connected)` of each answers a `Peer` or raises OSError.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from secretivex.peer import Peer


def read_peer(connected: socket.socket) -> Peer:
    """The peer of a connected unix socket; raises OSError if the system does not tell."""
    if sys.platform == "linux":
        from secretivex.server.peercred.linux import read_peer as read
    else:
        from secretivex.server.peercred.bsd import read_peer as read
    return read(connected)


def executable_of(peer: Peer) -> str:
    """The program of a peer's process as it is now, to be shown; "" where the system does not tell."""
    if sys.platform == "linux" and peer.pid:
        with contextlib.suppress(OSError):
            return str(Path(f"/proc/{peer.pid}/exe").readlink())
    return ""
