"""All stores that have processes of their own, as one descriptor to watch and one deadline.

Rule for editors: nothing here waits but `settle`, which is for the agent's start.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from secretivex.identity import StoreEvent
from secretivex.stores.hosting.hosted import HostedStore

SETTLE_FILES_S = 10.0
"""How long the start, or what a reload changes, waits for stores that read files only."""

SETTLE_OTHERS_S = 3.0
"""How long it waits for tokens; their keys may come later."""


class HostGroup:
    """The processes of some stores. Its descriptor is readable when `advance` has something to do."""

    def __init__(
        self, stores: Sequence[HostedStore], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stores = tuple(stores)
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._has_settled = False
        self._retired: list[HostedStore] = []
        self._watched: dict[HostedStore, tuple[socket.socket, int]] = {}

    def replace(self, stores: Sequence[HostedStore]) -> None:
        """From now on these stores; those left out still sign, until `end_retired`."""
        for store in self.stores:
            if store not in stores:
                self._unwatch(store)
                self._retired.append(store)
        self.stores = tuple(stores)

    def end_retired(self) -> None:
        """End the stores that were left out, now that nobody is to ask them."""
        retired, self._retired = self._retired, []
        for store in retired:
            store.close()

    def awaited_until(self) -> float | None:
        """When one stops to wait for stores that were made or asked anew; None if for none."""
        moments = [store.awaited_until(_patience(store)) for store in self.stores]
        now = self._clock()
        return max((one for one in moments if one is not None and one > now), default=None)

    def hold(self, stores: Sequence[HostedStore]) -> None:
        """The same, and those that are new start at once."""
        if self.stores != tuple(stores):
            self.replace(stores)
            self.advance()

    def take_events(self) -> tuple[StoreEvent, ...]:
        """What stores reported since."""
        return tuple(event for store in self.stores for event in store.take_events())

    def fileno(self) -> int:
        """The descriptor of the selector itself: epoll's and kqueue's can be watched."""
        return self._selector.fileno()

    @property
    def due(self) -> float | None:
        """When something is to be done without anything to read."""
        moments = [self.awaited_until(), *(store.due for store in self.stores)]
        return min((moment for moment in moments if moment is not None), default=None)

    def advance(self) -> bool:
        """Do all that is possible now; whether any store changed."""
        changed = [store.advance() for store in self.stores]
        for store in self.stores:
            self._watch(store)
        return any(changed)

    def start(self) -> None:
        """Start the processes that do not run yet, and hear nothing of them."""
        for store in self.stores:
            store.start()

    def settle(self) -> bool:
        """The first time, wait until every store has spoken or its time is over; whether it was."""
        if self._has_settled:
            return False
        self._has_settled = True
        begun = self._clock()
        while True:
            self.advance()
            elapsed_s = self._clock() - begun
            waiting = [s for s in self.stores if not s.has_answered and elapsed_s < _patience(s)]
            if not waiting:
                return True
            self._selector.select(0.05)

    def _watch(self, store: HostedStore) -> None:
        channel = store.channel
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if store.wants_to_write else 0)
        known = self._watched.get(store)
        if channel is None:
            self._unwatch(store)
        elif known is None or known[0] is not channel:
            self._unwatch(store)
            self._selector.register(channel, events)
            self._watched[store] = channel, events
        elif known[1] != events:
            self._selector.modify(channel, events)
            self._watched[store] = channel, events

    def _unwatch(self, store: HostedStore) -> None:
        known = self._watched.pop(store, None)
        if known is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(known[0])

    def close(self) -> None:
        """End every process."""
        self.end_retired()
        for store in self.stores:
            store.close()
        self._selector.close()

    def forget(self) -> None:
        """Close our copies of descriptors in a process that was forked from this one."""
        for store in (*self.stores, *self._retired):
            store.forget()
        self._selector.close()


def _patience(store: HostedStore) -> float:
    return SETTLE_FILES_S if store.kind == "file" else SETTLE_OTHERS_S
