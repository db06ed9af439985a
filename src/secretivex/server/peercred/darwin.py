"""Who connected, on macOS: the audit token of a unix socket's peer, and libproc(3) asked by it.

A token names one process for ever, so that nothing is told of a later one with its number. Written
from the headers sys/un.h, libproc.h and sys/proc_info.h; no test has run it on a Mac.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer
from secretivex.server.peercred.bsd import read_peer as read_ids

_SOL_LOCAL = 0
_LOCAL_PEERTOKEN = 6
_TOKEN = struct.Struct("=8I")
_PID = 5
"""audit_token_t; the process is its sixth number."""

_PATH_BYTES = 4096
"""PROC_PIDPATHINFO_MAXSIZE."""

_PROC_PIDT_SHORTBSDINFO = 13
_SHORTBSDINFO = struct.Struct("=4I16s8I")
"""struct proc_bsdshortinfo: pid, ppid, pgid, status, comm, flags, uid, ... It is told of processes of
every user; the longer form is not, and the line of parents ends at one of root's."""
_PPID, _UID = 1, 6

MAX_ANCESTORS = 32


def read_peer(connected: socket.socket) -> Peer:
    """The peer as it was when it connected."""
    ids = read_ids(connected)
    token = _token_of(connected.fileno())
    return Peer(uid=ids.uid, gid=ids.gid, pid=_TOKEN.unpack(token)[_PID] if token else None)


def read_caller(descriptor: int, peer: Peer) -> Caller:
    """The program at the other end of a connected socket, as it is now."""
    token = _token_of(descriptor)
    try:
        library: Any = ctypes.CDLL("/usr/lib/libproc.dylib", use_errno=True)
        return look_up(library, token, peer, os.getsid)
    except (OSError, AttributeError):  # proc_pidpath_audittoken came with macOS 11
        return UNKNOWN_CALLER


def look_up(library: Any, token: bytes, peer: Peer, session_of: Callable[[int], int]) -> Caller:
    """The same by a token, which is asked again at the end: by then all that was told was of it.

    A socket that was handed on may have the token of who uses it now: then nothing is told.
    Raises OSError.
    """
    if not token or not peer.pid or _TOKEN.unpack(token)[_PID] != peer.pid:
        return UNKNOWN_CALLER
    path = _path_of(library, token)
    found = Caller(path, _ancestors_of(library, peer.pid, peer.uid), session_of(peer.pid))
    is_same = bool(path) and _path_of(library, token) == path
    return found if is_same else UNKNOWN_CALLER


def _path_of(library: Any, token: bytes) -> str:
    """The program of a token's process; "" once that has ended or runs another one."""
    path = ctypes.create_string_buffer(_PATH_BYTES)
    size = library.proc_pidpath_audittoken(token, path, _PATH_BYTES)
    return os.fsdecode(path.value) if size > 0 else ""


def _token_of(descriptor: int) -> bytes:
    with socket.socket(fileno=os.dup(descriptor)) as connected:
        try:
            return connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERTOKEN, _TOKEN.size)
        except OSError:
            return b""


def _ancestors_of(library: Any, pid: int, uid: int) -> tuple[str, ...] | None:
    """Nearest first, up to the first that runs for another user; None if they cannot be told.

    Whoever still has the parent that it had before had it all along: no number was another's.
    """
    programs: list[str] = []
    child = _info_of(library, pid)
    line = [(pid, child)]
    while child is not None and (number := child[_PPID]):
        parent = _info_of(library, number)
        if parent is None or len(programs) == MAX_ANCESTORS:
            return None
        if parent[_UID] != uid:
            break
        path = ctypes.create_string_buffer(_PATH_BYTES)
        size = library.proc_pidpath(number, path, _PATH_BYTES)
        programs.append(os.fsdecode(path.value) if size > 0 else "")
        child = parent
        line.append((number, child))
    for number, known in line:
        now = _info_of(library, number)
        if known is None or now is None or now[_PPID] != known[_PPID]:
            return None
    return tuple(programs)


def _info_of(library: Any, pid: int) -> tuple[int, ...] | None:
    buffer = ctypes.create_string_buffer(_SHORTBSDINFO.size)
    asked = (_PROC_PIDT_SHORTBSDINFO, ctypes.c_uint64(0), buffer, _SHORTBSDINFO.size)
    size = library.proc_pidinfo(pid, *asked)
    return _SHORTBSDINFO.unpack(buffer.raw) if size == _SHORTBSDINFO.size else None
