"""Takes new connections off the listening socket that all workers share.

Rule for editors: only the owner's and root's connections get as far as a protocol; a worker above
its share leaves the listener to others, but never for longer than `REST_S`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from secretivex.peer import Peer, is_admitted
from secretivex.server.peercred import peer_reader
from secretivex.server.report.tally import Tally
from secretivex.server.sockets.watch import Watch
from secretivex.server.worker.auditing import Auditor
from secretivex.server.worker.shared import Shared

LOG = logging.getLogger("secretivex.server")

BATCH = 32
"""Connections taken at a time before other sockets are looked at. What is taken is in a queue of
ours, where callers take turns; what is not waits in the kernel's, first come, first served."""

REST_S = 0.005
"""How long a worker above its share leaves the listener alone. Bounded, so that a worker that
hangs with few connections cannot make all others wait for it."""

BACK_OFF_S = 0.1
"""Pause after an accept that failed for want of descriptors or memory."""

_LOG_EVERY = 100


class Refusals:
    """Connections that are not let in: counted, recorded, and said now and then."""

    def __init__(self, tally: Tally, auditor: Auditor | None) -> None:
        self._tally = tally
        self._auditor = auditor
        self._noted = 0

    def note(self, why: str, peer: Peer | None, **fields: object) -> None:
        """Say so at the first time and at every hundredth: a flood must not fill the log."""
        self._tally.meter.count("connections_rejected", why)
        if self._auditor is not None:
            self._auditor.rejected(why, peer)
        if self._noted % _LOG_EVERY == 0:
            count = self._noted + 1
            LOG.warning(
                "connection refused", extra={"fields": {"why": why, "count": count, **fields}}
            )
        self._noted += 1


class Acceptor:
    """One worker's hand on the listener; `adopt` gets each admitted connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: Shared,
        watch: Watch,
        worker: int,
        adopt: Callable[[socket.socket, Peer], None],
        refusals: Refusals,
    ) -> None:
        self._loop = loop
        if shared.listener is None:
            raise ValueError("there is no listener to accept from")
        self._listener = shared.listener
        self._cells = shared.cells
        self._refusals = refusals
        self._watch = watch
        self._worker = worker
        self._adopt = adopt
        self._is_stopped = True
        self._max_connections = 0
        self._owner_uid = os.geteuid()
        self._read_peer = peer_reader()
        self._rests_for_share = False
        self._waking: asyncio.TimerHandle | None = None

    def start(self, max_connections: int) -> None:
        """Begin, or go on with another limit; 0 is none."""
        self._max_connections = max_connections
        if self._is_stopped:
            self._is_stopped = False
            self._listen()

    def _listen(self) -> None:
        self._watch.add(self._listener.fileno(), self._accept_batch)

    def stop(self) -> None:
        """Leave the listener alone for good."""
        self._is_stopped = True
        self._watch.drop(self._listener.fileno())

    def _rest(self, seconds: float) -> None:
        self._watch.drop(self._listener.fileno())
        self._waking = self._loop.call_later(seconds, self._wake)

    def ease(self) -> None:
        """A connection went: a worker that rested for its share need not wait for the clock."""
        if self._rests_for_share and not self._cells.is_above_share(self._worker):
            self._wake()

    def _wake(self) -> None:
        """One connection even if still above the share, then as usual."""
        if self._waking is not None:
            self._waking.cancel()
        self._waking = None
        self._rests_for_share = False
        if not self._is_stopped:
            self._listen()
            self._accept()

    def _accept_batch(self, _mask: int) -> None:
        for _ in range(BATCH):
            if self._cells.is_above_share(self._worker):
                self._rests_for_share = True
                self._rest(REST_S)
                return
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Take one connection; False if there is none to take now."""
        try:
            connected, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False
        except OSError as error:
            LOG.warning("cannot accept", extra={"fields": {"reason": error.strerror}})
            self._rest(BACK_OFF_S)
            return False
        peer = self._admit(connected)
        if peer is None:
            connected.close()
        else:
            self._adopt(connected, peer)
        return True

    def _admit(self, connected: socket.socket) -> Peer | None:
        try:
            peer = self._read_peer(connected)
        except OSError as error:
            self._reject("peer_unknown", None, reason=error.strerror)
            return None
        if not is_admitted(peer, self._owner_uid):
            self._reject("peer_not_admitted", peer, uid=peer.uid, pid=peer.pid)
        elif 0 < self._max_connections <= self._cells.total():
            self._reject("max_connections", peer, limit=self._max_connections)
        else:
            return peer
        return None

    def _reject(self, why: str, peer: Peer | None, **fields: object) -> None:
        self._refusals.note(why, peer, **fields)
