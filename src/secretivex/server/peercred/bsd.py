"""getpeereid(3) of the BSDs and macOS: the effective ids of the process that called connect."""

from __future__ import annotations

import ctypes
import os
import socket

from secretivex.peer import Peer


def read_peer(connected: socket.socket) -> Peer:
    """The peer as it was when it connected; these systems do not tell its process here."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    if libc.getpeereid(connected.fileno(), ctypes.byref(uid), ctypes.byref(gid)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return Peer(uid=uid.value, gid=gid.value)
