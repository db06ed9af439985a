"""Who connected, on Linux: SO_PEERCRED of unix(7), and what /proc says of that very process.

SO_PEERPIDFD, since Linux 6.5, is a handle of the process that connected, whoever has its number by
now; without it pidfd_open(2) holds the one that has the number. Rule for editors: what /proc says
counts only if the handle shows afterwards that the process was there all along.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

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


class Handle(NamedTuple):
    """A process descriptor, and whether it is for certain of the process that connected."""

    descriptor: int
    is_certain: bool


class AskedSocket(Protocol):
    """The part of a connected socket that is asked for its peer."""

    def getsockopt(self, level: int, option: int, /) -> int:
        """One option of it."""
        ...


def open_handle(connected: AskedSocket, pid: int) -> Handle | None:
    """Of the peer; None where there is none.

    The number is asked for only where the kernel does not know the option. Where it says that the
    process has ended, the number may be another's by now.
    """
    try:
        return Handle(connected.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD), is_certain=True)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT or sys.platform != "linux":
            return None
    try:
        return Handle(os.pidfd_open(pid), is_certain=False)
    except OSError:
        return None


@contextlib.contextmanager
def _handle_of(descriptor: int, pid: int) -> Iterator[int | None]:
    """A process descriptor of the peer for as long as the context lasts."""
    handle: Handle | None = None
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connected:
        handle = open_handle(connected, pid)
    try:
        yield None if handle is None else handle.descriptor
    finally:
        if handle is not None:
            os.close(handle.descriptor)


def _has_ended(handle: int) -> bool:
    watch = select.poll()
    watch.register(handle, select.POLLIN)
    return bool(watch.poll(0))


class _Process(NamedTuple):
    """The part of /proc/PID/stat that matters: proc(5)."""

    parent: int
    session: int


def look_up(pid: int, uid: int) -> Caller:
    """A process by its number: its program, and the line of those of its user that started it."""
    try:
        process = _read_stat(pid)
    except (OSError, ValueError):
        return UNKNOWN_CALLER
    return Caller(_program_of(pid), _ancestors_of(pid, process, uid), process.session)


def _ancestors_of(pid: int, process: _Process, uid: int) -> tuple[str, ...] | None:
    """Nearest first, up to the first that runs for another user; None if they cannot be told.

    Whoever still has the parent that it had before had it all along: no number was another's.
    """
    programs: list[str] = []
    line = [(pid, process)]
    child = process
    try:
        while (number := child.parent) and _effective_uid(number) == uid:
            parent = _read_stat(number)
            if len(programs) == MAX_ANCESTORS:
                return None
            programs.append(_program_of(number))
            child = parent
            line.append((number, child))
        is_same = all(_read_stat(number).parent == seen.parent for number, seen in line)
    except (OSError, ValueError):
        return None
    return tuple(programs) if is_same else None


def _read_stat(pid: int) -> _Process:
    # The name in parentheses may hold anything, so what follows its last one is taken.
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs as much as the read
        fields = file.read(4096).rpartition(b")")[2].split()
    return _Process(int(fields[1]), int(fields[3]))


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
