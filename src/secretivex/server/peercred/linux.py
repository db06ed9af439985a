"""Who connected, on Linux: SO_PEERCRED of unix(7), and what /proc says of that very process.

SO_PEERPIDFD, since Linux 6.5, is a handle of the process that connected, whoever has its number by
now; without it pidfd_open(2) holds the one that has the number. Rule for editors: what /proc says
counts only if the handle shows afterwards that the process was there all along.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer

_UCRED = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""

_SO_PEERCRED = 17
SO_PEERPIDFD = 77
"""asm-generic/socket.h; the socket module does not name the second one."""

MAX_ANCESTORS = 32
"""A longer line of processes counts as unknown."""


def read_peer(connected: socket.socket) -> Peer:
    """The peer as it was when it connected."""
    return _peer_of(connected.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _UCRED.size))


@lru_cache(1024)
def _peer_of(ucred: bytes) -> Peer:
    """The same value for the same process: most connections are those of few callers."""
    pid, uid, gid = _UCRED.unpack(ucred)
    return Peer(uid=uid, gid=gid, pid=pid)


def read_caller(descriptor: int, peer: Peer) -> Caller:
    """The program at the other end of a connected socket, as it is now."""
    if not peer.pid:
        return UNKNOWN_CALLER
    with _handle_of(descriptor, peer.pid) as handle:
        if handle is None:
            return UNKNOWN_CALLER
        found = look_up(peer.pid, peer.uid)
        return UNKNOWN_CALLER if _has_ended(handle) else found


@contextlib.contextmanager
def _handle_of(descriptor: int, pid: int) -> Iterator[int | None]:
    """A process descriptor of the peer, None where there is none."""
    handle: int | None = None
    try:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connected:
            handle = connected.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        if handle is None and sys.platform == "linux":
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(pid)
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _has_ended(handle: int) -> bool:
    watch = select.poll()
    watch.register(handle, select.POLLIN)
    return bool(watch.poll(0))


class _Process(NamedTuple):
    """The part of /proc/PID/stat that matters: proc(5)."""

    parent: int
    session: int
    started: int


def look_up(pid: int, uid: int) -> Caller:
    """A process by its number: its program, and the line of those of its user that started it."""
    try:
        process = _read_stat(pid)
    except (OSError, ValueError):
        return UNKNOWN_CALLER
    return Caller(_program_of(pid), _ancestors_of(process, uid), process.session)


def _ancestors_of(process: _Process, uid: int) -> tuple[str, ...] | None:
    """Nearest first, up to the first that runs for another user; None if they cannot be told."""
    programs: list[str] = []
    child = process
    try:
        while (pid := child.parent) and _effective_uid(pid) == uid:
            parent = _read_stat(pid)
            # One that is younger than its child has the number of one that ended.
            if parent.started > child.started or len(programs) == MAX_ANCESTORS:
                return None
            programs.append(_program_of(pid))
            child = parent
    except (OSError, ValueError):
        return None
    return tuple(programs)


def _read_stat(pid: int) -> _Process:
    # The name in parentheses may hold anything, so what follows its last one is taken.
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs as much as the read
        fields = file.read(4096).rpartition(b")")[2].split()
    return _Process(int(fields[1]), int(fields[3]), int(fields[19]))


def _effective_uid(pid: int) -> int:
    with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - as above
        for line in file:
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
    raise ValueError("no Uid in /proc/PID/status")


def _program_of(pid: int) -> str:
    return find_program(pid)[0]


FileId = tuple[int, int, int]
"""Device, inode and the moment of its last change: one file, as long as somebody runs it."""


def running_file(pid: int) -> FileId:
    """The file that a process runs; raises OSError if that is not told."""
    return _id_of(os.stat(f"/proc/{pid}/exe"))  # noqa: PTH116 - pathlib costs as much as the call


def _id_of(status: os.stat_result) -> FileId:
    return status.st_dev, status.st_ino, status.st_ctime_ns


def find_program(pid: int) -> tuple[str, FileId | None]:
    """The path of a process's program; "" unless the file at that path is the very one that runs.

    In a file system of its own a process could have any file at any path.
    """
    try:
        path = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - as above
        running, there = running_file(pid), _id_of(os.stat(path))  # noqa: PTH116 - as above
    except OSError:
        return "", None
    return (path, running) if running == there else ("", None)
