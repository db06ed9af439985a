"""The process of one store: opens it, looks after it, tells the supervisor what it holds.

Run as `python -m secretivex.stores.hosting.host LISTENER MEMORY_LOCK`, with the channel to the supervisor as
standard input. Rule for editors: it says nothing on any other stream, and it ends when its channel
does, with everything that it started.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from dataclasses import replace

from secretivex.hardening import overwrite_freed_memory
from secretivex.identity import KeyRecord, KeyStore, StoreEvent, StoreHealth, TendedStore
from secretivex.stores.hosting.endpoint import (
    Endpoint,
    accept_one,
    address_of,
    adopt_listener,
    serve_one,
)
from secretivex.stores.hosting.messages import (
    Kind,
    MessageReader,
    Snapshot,
    encode_message,
    encode_snapshot,
    parse_start,
)
from secretivex.stores.hosting.process import become_store_process
from secretivex.stores.kinds import Memory, SigningStore, StoreSetup, open_store

_READ_BYTES = 1024 * 1024
IDLE_S = 60.0
"""How long the process sleeps if nothing happens; only the channel wakes it before."""


class Host:
    """One store and the channel to whom it serves."""

    def __init__(self, channel: socket.socket, listener: socket.socket) -> None:
        self._channel = channel
        self._reader = MessageReader()
        kind, body = self._first()
        if kind is not Kind.START:
            raise ValueError("the first message must be START")
        start = parse_start(body)
        self._endpoint = Endpoint(listener, address_of(listener), start.password)
        self._store = open_store(
            StoreSetup(
                start.kind,
                start.name,
                start.settings,
                start.environ,
                start.secrets,
                self._endpoint,
                start.memory,
            )
        )
        self._broken = ""
        self._since: tuple[object, float] = ("", time.time())
        self._sent: Snapshot | None = None

    def run(self) -> None:
        """Serve until the channel closes."""
        if isinstance(self._store, SigningStore):
            threading.Thread(target=self._sign_for_ever, args=(self._store,), daemon=True).start()
        try:
            self._refresh()
            while True:
                self._turn()
        except EOFError:
            pass
        finally:
            if isinstance(self._store, TendedStore):
                self._store.close()

    def _turn(self) -> None:
        store = self._store
        watched = [self._channel.fileno()]
        patience_s = IDLE_S
        if isinstance(store, TendedStore):
            patience_s = store.tend_every_s
            if store.fileno() >= 0:
                watched.append(store.fileno())
        readable, _, _ = select.select(watched, [], [], patience_s)
        asked = False
        if self._channel.fileno() in readable:
            asked = any(kind is Kind.REFRESH for kind, _ in self._receive())
        if asked:
            if isinstance(store, Memory):
                store.forgive()
            self._refresh()
        elif isinstance(store, TendedStore) and store.tend():
            self._report(store.news())

    def _refresh(self) -> None:
        """Let the store look again, and say what it holds."""
        events: tuple[StoreEvent, ...] = ()
        try:
            events = self._store.refresh()
            self._broken = ""
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a store is its health
            reason = f"{type(error).__name__}: {error}"
            if reason != self._broken:
                events = (StoreEvent(self._store.name, "store_broken", self._store.name, reason),)
            self._broken = reason
        self._report(events, is_asked=True)

    def _report(self, events: tuple[StoreEvent, ...], *, is_asked: bool = False) -> None:
        """Tell the supervisor, if it asked or there is news."""
        snapshot = Snapshot(self._health(), self._records(), events, self._memory())
        if is_asked or snapshot != self._sent:
            self._sent = replace(snapshot, events=())
            self._channel.sendall(encode_message(Kind.SNAPSHOT, encode_snapshot(snapshot)))

    def _records(self) -> tuple[KeyRecord, ...]:
        return tuple(map(self._store.export, self._store.identities()))

    def _health(self) -> StoreHealth:
        health = self._store.health()
        if self._broken:
            health = replace(health, is_well=False, reason=self._broken)
        state = (health.is_well, health.reason)
        if state != self._since[0]:
            self._since = state, time.time()
        return replace(health, since_s=self._since[1])

    def _memory(self) -> bytes:
        return self._store.memory() if isinstance(self._store, Memory) else b""

    def _sign_for_ever(self, store: KeyStore) -> None:
        """For stores that sign in this very process, one signature after another."""
        if not isinstance(store, SigningStore):
            return
        while True:
            select.select([self._endpoint.listener], [], [])
            connection = accept_one(self._endpoint.listener)
            if connection is not None:
                serve_one(connection, self._endpoint.password, store.sign_with)

    def _first(self) -> tuple[Kind, bytes]:
        """What follows at once can only be REFRESH, which the first refresh answers."""
        while True:
            received = self._receive()
            if received:
                return received[0]

    def _receive(self) -> tuple[tuple[Kind, bytes], ...]:
        data = self._channel.recv(_READ_BYTES)
        if not data:
            raise EOFError
        return self._reader.receive(data)


def main() -> None:
    """Be the process."""
    channel = become_store_process(sys.argv[2])
    # Not where a module of somebody else's is loaded: it may live by what it freed.
    overwrite_freed_memory(is_on=True)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Host(channel, adopt_listener(int(sys.argv[1]))).run()
    # Threads that wait for a token must not hold the process up.
    os._exit(0)


if __name__ == "__main__":
    main()
