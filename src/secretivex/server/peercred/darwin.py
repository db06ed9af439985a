"""Who connected, on macOS: the audit token of a unix socket's peer, and libproc(3) asked by it.

A token names one process for ever, so that nothing is told of a later one with its number. Written
from the headers sys/un.h, libproc.h and sys/proc_info.h; no test has run it on a Mac.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer
from secretivex.server.peercred.bsd import read_peer as read_ids

_SOL_LOCAL = 0
_LOCAL_PEERTOKEN = 6
_TOKEN = struct.Struct("=8I")
"""audit_token_t; the process is its sixth number."""

_PATH_BYTES = 4096
"""PROC_PIDPATHINFO_MAXSIZE."""

_PROC_PIDTBSDINFO = 3
_BSDINFO = struct.Struct("=12I16s32s5IiQQ")
"""struct proc_bsdinfo: flags, status, xstatus, pid, ppid, uid, ..."""
_PPID, _UID = 4, 5

MAX_ANCESTORS = 32


def read_peer(connected: socket.socket) -> Peer:
    """The peer as it was when it connected."""
    ids = read_ids(connected)
    token = _token_of(connected.fileno())
    return Peer(uid=ids.uid, gid=ids.gid, pid=_TOKEN.unpack(token)[5] if token else None)


def read_caller(descriptor: int, peer: Peer) -> Caller:
    """The program at the other end of a connected socket, as it is now."""
    token = _token_of(descriptor)
    if not token or not peer.pid:
        return UNKNOWN_CALLER
    library = ctypes.CDLL("/usr/lib/libproc.dylib", use_errno=True)
    path = ctypes.create_string_buffer(_PATH_BYTES)
    size = library.proc_pidpath_audittoken(token, path, _PATH_BYTES)
    if size <= 0:
        return UNKNOWN_CALLER
    session = os.getsid(peer.pid)
    return Caller(os.fsdecode(path.value), _ancestors_of(library, peer.pid, peer.uid), session)


def _token_of(descriptor: int) -> bytes:
    with socket.socket(fileno=os.dup(descriptor)) as connected:
        try:
            return connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERTOKEN, _TOKEN.size)
        except OSError:
            return b""


def _ancestors_of(library: ctypes.CDLL, pid: int, uid: int) -> tuple[str, ...] | None:
    """Nearest first, up to the first that runs for another user; None if they cannot be told."""
    programs: list[str] = []
    info = _info_of(library, pid)
    while info is not None and info[_PPID]:
        parent = info[_PPID]
        info = _info_of(library, parent)
        if info is None:
            return None
        if info[_UID] != uid:
            return tuple(programs)
        if len(programs) == MAX_ANCESTORS:
            return None
        path = ctypes.create_string_buffer(_PATH_BYTES)
        size = library.proc_pidpath(parent, path, _PATH_BYTES)
        programs.append(os.fsdecode(path.value) if size > 0 else "")
    return None if info is None else tuple(programs)


def _info_of(library: ctypes.CDLL, pid: int) -> tuple[int, ...] | None:
    buffer = ctypes.create_string_buffer(_BSDINFO.size)
    size = library.proc_pidinfo(pid, _PROC_PIDTBSDINFO, ctypes.c_uint64(0), buffer, _BSDINFO.size)
    return _BSDINFO.unpack(buffer.raw) if size == _BSDINFO.size else None
