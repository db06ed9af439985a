"""Named pipes without Windows: names, access lists, instances and clients as the port words them.

A client is a socket; what a process may do there is judged by the two accounts that an access list
names, as the system would.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field

from secretivex.server.windows.port import PipeClient, PipeTakenError

PATIENCE_S = 60.0

_LOCAL = 1
"""AF_UNIX by its number, for one test takes the name away."""


class PipeBusyError(OSError):
    """No instance waits for a client."""


@dataclass
class StandInPipe:
    """A name that somebody holds."""

    owner: object
    sids: frozenset[str]
    instances: set[StandInInstance] = field(default_factory=set)


class StandInInstance:
    """One end, waiting for a client or with one."""

    def __init__(self, pipe: StandInPipe, pipes: dict[str, StandInPipe], name: str) -> None:
        self._pipe, self._pipes, self._name = pipe, pipes, name
        self.ours, self.theirs = socket.socketpair(_LOCAL)
        self.who: PipeClient | None = None
        self.met = threading.Event()
        self.is_closed = False
        self.was_read = False
        pipe.instances.add(self)

    def accept(self) -> bool:
        assert self.met.wait(PATIENCE_S)
        return not self.is_closed

    def read(self, size: int) -> bytes:
        try:
            data = self.ours.recv(size)
        except OSError:
            return b""
        self.was_read = self.was_read or bool(data)
        return data

    def write(self, data: bytes) -> None:
        self.ours.sendall(data)

    def client(self) -> PipeClient:
        if not self.was_read or self.who is None:
            raise OSError("nothing was read yet: ERROR_CANNOT_IMPERSONATE")
        return self.who

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.met.set()
        # A thread that waits in recv is woken by this, not by a close.
        with contextlib.suppress(OSError):
            self.ours.shutdown(socket.SHUT_RDWR)
        self.ours.close()
        if self.who is None:
            self.theirs.close()
        self._pipe.instances.discard(self)
        if not self._pipe.instances:
            self._pipes.pop(self._name, None)


class StandInPipes:
    """The pipes of a machine, as one process of `sid` sees them."""

    def __init__(self, sid: str, pipes: dict[str, StandInPipe] | None = None) -> None:
        self._sid = sid
        self.pipes: dict[str, StandInPipe] = {} if pipes is None else pipes
        self._lock = threading.Lock()
        self.failures_left = 0
        """How many instances after the first the system will not make."""

    def own_sid(self) -> str:
        return self._sid

    def create(self, name: str, sddl: str, *, is_first: bool) -> StandInInstance:
        if sddl.startswith("O:") and not sddl.startswith(f"O:{self._sid}G:"):
            raise OSError("a process may give what it makes to nobody else: ERROR_INVALID_OWNER")
        with self._lock:
            if not is_first and self.failures_left:
                self.failures_left -= 1
                raise OSError("no memory for another instance")
            pipe = self.pipes.get(name)
            if pipe is not None and (is_first or self._sid not in pipe.sids):
                raise PipeTakenError(0, "access denied", name)
            if pipe is None:
                sids = frozenset(re.findall(r"\(A;;GA;;;(S-[0-9-]+)\)", sddl))
                pipe = self.pipes[name] = StandInPipe(self, sids)
            return StandInInstance(pipe, self.pipes, name)

    def connect(self, name: str, who: PipeClient, *, is_local: bool = True) -> socket.socket:
        """A client's end; raises as CreateFile would."""
        with self._lock:
            pipe = self.pipes.get(name)
            if pipe is None:
                raise FileNotFoundError(name)
            if not is_local or who.sid not in pipe.sids:
                raise PermissionError(name)
            for instance in pipe.instances:
                if instance.who is None and not instance.is_closed:
                    instance.who = who
                    instance.theirs.settimeout(PATIENCE_S)
                    instance.met.set()
                    return instance.theirs
            raise PipeBusyError(name)
