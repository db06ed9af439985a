"""Programs of callers on Linux, for records: a process that is there still is not looked up anew.

A handle (pidfd_open(2)) is kept of each of the last few processes. Connections are taken in the order
in which they were made, so one that is taken after a process was looked up, from a process with the
same number, comes from that very one if the handle shows afterwards that it is there still. Rule for
editors: what is remembered may be asked for only while a connection is taken, never later; and a
process that runs another file by now is looked up again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import NamedTuple

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer
from secretivex.server.peercred.linux import FileId, find_program, open_handle, running_file

MAX_HANDLES = 32
"""Processes that are remembered; the handle of each is an open descriptor."""


class _Process(NamedTuple):
    """One that was looked up: its handle, the file that it ran, and all that is told of it."""

    handle: int
    running: FileId
    peer: Peer


class LinuxPrograms:
    """What one worker knows of its callers' programs."""

    def __init__(self) -> None:
        self._processes: dict[Peer, _Process] = {}

    def recall(self, peer: Peer) -> Peer:
        """The peer of a connection that is being taken, with its program if that is known."""
        process = self._processes.get(peer)
        if process is None or not peer.pid:
            return peer
        try:
            is_same = running_file(peer.pid) == process.running
        except OSError:
            is_same = False
        if is_same and _is_there(process.handle):
            return process.peer
        self._forget(peer)
        return peer

    def identify(self, connected: socket.socket, peer: Peer) -> Peer:
        """The peer of a connection with its program; remembered if that is certain."""
        if sys.platform != "linux" or not peer.pid:
            return _with(peer, UNKNOWN_CALLER)
        handle = open_handle(connected, peer.pid)
        if handle is None:
            return _with(peer, UNKNOWN_CALLER)
        path, running = find_program(peer.pid)
        whole = _with(peer, Caller(path) if _is_there(handle.descriptor) else UNKNOWN_CALLER)
        if handle.is_certain and running is not None and whole.caller is not UNKNOWN_CALLER:
            return self._remember(peer, _Process(handle.descriptor, running, whole))
        os.close(handle.descriptor)
        return whole

    def _remember(self, peer: Peer, process: _Process) -> Peer:
        """Keep it, in the place of the oldest; answers the one value that stands for this peer."""
        known = self._processes.get(peer)
        if known is None and len(self._processes) >= MAX_HANDLES:
            self._forget(next(iter(self._processes)))
        if known is not None:
            self._forget(peer)
            if known.peer == process.peer:
                process = process._replace(peer=known.peer)
        self._processes[peer] = process
        return process.peer

    def _forget(self, peer: Peer) -> None:
        os.close(self._processes.pop(peer).handle)

    def close(self) -> None:
        """Let go of all of them."""
        while self._processes:
            self._forget(next(iter(self._processes)))


def _with(peer: Peer, caller: Caller) -> Peer:
    return Peer(peer.uid, peer.gid, peer.pid, caller)


def _is_there(handle: int) -> bool:
    """Whether a process has its number still: it runs, or nobody has waited for its end."""
    try:
        signal.pidfd_send_signal(handle, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
