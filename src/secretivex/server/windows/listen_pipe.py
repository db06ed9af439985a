"""The agent's named pipe: claimed once, open to its owner and the system, one thread an instance.

A pipe takes a client for each instance that waits, so `SPARE` of them always do: a client that finds
none is told that the pipe is busy, and tries again. Rule for editors: the first instance is made
before anything is served, with the flag that fails where somebody else has the name.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from secretivex.errors import SecretiveError
from secretivex.peer import Caller, Peer
from secretivex.server.sockets.door import Door, Guests, OpenDoor
from secretivex.server.sockets.wire import READ_BYTES
from secretivex.server.windows.port import (
    PipeClient,
    PipeInstance,
    PipePort,
    PipeTakenError,
    is_owner,
    taken,
    uid_of,
)
from secretivex.server.windows.rules import pipe_sddl
from secretivex.server.windows.wire import PipeWire

LOG = logging.getLogger("secretivex.server")

SPARE = 4
"""Instances that wait for a client at a time."""

MAX_CONNECTIONS = 256
"""Clients at a time where `max_connections` sets no limit: each costs two threads."""

RETRY_S = 1.0
"""Pause after the system would not make an instance, or would not wait with it."""

FIRST_BYTES_S = 10.0
"""How long a client may take to its first byte, before which the system does not say who it is."""


class PipeListener:
    """The pipe's name, held by its first instance from the moment that this is made."""

    def __init__(self, port: PipePort, name: str, owner_sid: str) -> None:
        self.name = name
        self._port = port
        self._owner_sid = owner_sid
        self._sddl = pipe_sddl(owner_sid, port.own_sid())
        self._lock = threading.Lock()
        self._waiting: set[PipeInstance] = set()
        self._wires: set[PipeWire] = set()
        self._is_open = False
        self._ended = threading.Event()
        self._limit = MAX_CONNECTIONS
        try:
            self._first: PipeInstance | None = port.create(name, self._sddl, is_first=True)
        except PipeTakenError as error:
            raise taken(name) from error
        except OSError as error:
            raise SecretiveError("socket_failed", f"cannot make {name}: {error}") from error

    socket: None = None
    """There is none."""

    @property
    def door(self) -> OpenDoor:
        """For a worker to let clients in by."""
        return self._serve

    def _serve(self, loop: asyncio.AbstractEventLoop, guests: Guests, /) -> Door:
        self._loop, self._guests = loop, guests
        return self

    def hang_up(self) -> None:
        """End every connection that is left: on the loop, before it ends."""
        for wire in tuple(self._wires):
            wire.abort()

    def start(self, max_connections: int) -> None:
        """Take clients from now on, or go on with another limit; 0 is `MAX_CONNECTIONS`."""
        self._limit = max_connections or MAX_CONNECTIONS
        if not self._is_open:
            self._is_open = True
            for number in range(SPARE):
                name = f"pipe-{number}"
                threading.Thread(target=self._accept_on, name=name, daemon=True).start()

    def stop(self) -> None:
        """Take nobody any more."""
        self.close()

    def ease(self) -> None:
        """Instances wait whoever has gone."""

    def close(self) -> None:
        """Take nobody any more; who was let in stays."""
        with self._lock:
            self._ended.set()
            waiting = tuple(self._waiting)
            if self._first is not None:
                waiting += (self._first,)
                self._first = None
        for instance in waiting:
            instance.close()

    # In the threads that wait.

    def _accept_on(self) -> None:
        while not self._ended.is_set():
            instance = None
            try:
                instance = self._next_instance()
                is_taken = instance is not None and instance.accept()
            except OSError as error:
                LOG.warning("cannot accept", extra={"fields": {"reason": str(error)}})
                is_taken = False
                self._ended.wait(RETRY_S)
            if instance is None:
                continue
            if is_taken:
                # Who it is shows with its first bytes, which it may keep us waiting for.
                threading.Thread(target=self._meet, args=(instance,), daemon=True).start()
            else:
                self._let_go(instance)
                instance.close()

    def _let_go(self, instance: PipeInstance) -> None:
        with self._lock:
            self._waiting.discard(instance)

    def _next_instance(self) -> PipeInstance | None:
        """One that waits for a client; None at the end. Raises OSError."""
        with self._lock:
            if self._ended.is_set():
                return None
            instance, self._first = self._first, None
            if instance is None:
                instance = self._port.create(self.name, self._sddl, is_first=False)
            self._waiting.add(instance)
            return instance

    def _meet(self, instance: PipeInstance) -> None:
        """Read the first bytes, so that the system says whose they are."""
        overdue = threading.Timer(FIRST_BYTES_S, instance.close)
        overdue.daemon = True
        overdue.start()
        try:
            first = instance.read(READ_BYTES)
            client = instance.client() if first else None
        except OSError:
            first, client = b"", None
        finally:
            overdue.cancel()
            self._let_go(instance)
        try:
            self._loop.call_soon_threadsafe(self._decide, instance, first, client)
        except RuntimeError:
            instance.close()

    # On the loop.

    def _decide(self, instance: PipeInstance, first: bytes, client: PipeClient | None) -> None:
        why = ""
        peer = None if client is None else peer_of(client)
        if client is None or peer is None:
            why = "peer_unknown" if first else "silent"
        elif not is_owner(client, self._owner_sid):
            why = "peer_not_admitted"
        elif len(self._wires) >= self._limit:
            why = "max_connections"
        if why or peer is None or self._ended.is_set():
            if why not in ("", "silent"):
                self._guests.turn_away(why, peer)
            instance.close()
            return
        wire = PipeWire(self._loop, instance, self._guests.welcome(peer), first)
        wire.received = self._guests.begin_look
        wire.ended = lambda: self._wires.discard(wire)
        self._wires.add(wire)
        wire.open()


def peer_of(client: PipeClient) -> Peer:
    """A client as the engine knows callers: the number of its user stands for uid and gid."""
    uid = uid_of(client.sid)
    return Peer(uid, uid, client.pid, Caller(client.executable))
