"""All stores as one: the union of their keys, each listed once.

Order is store order, then the store's own. Rule for editors: whatever one store raises, the keys
of the others stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from secretivex.identity import Identity, KeyRecord, KeyStore, StoreEvent, StoreHealth
from secretivex.stores.hosting.hosted import HostedStore


class Registry:
    """Stores in the order in which their keys are offered."""

    def __init__(self, stores: Sequence[KeyStore]) -> None:
        names = [store.name for store in stores]
        if len(set(names)) != len(names):
            raise ValueError(f"two stores have one name: {', '.join(sorted(names))}")
        self._stores = {store.name: store for store in stores}
        self._broken: dict[str, tuple[str, float]] = {}

    @property
    def hosted(self) -> tuple[HostedStore, ...]:
        """The stores that have processes of their own."""
        return tuple(store for store in self._stores.values() if isinstance(store, HostedStore))

    def replace(self, stores: Sequence[KeyStore]) -> None:
        """From now on these stores, in this order; one whose plan is known goes on as it is."""
        kept = {store.spec.name: store for store in self.hosted}
        found: dict[str, KeyStore] = {}
        for store in stores:
            old = kept.get(store.name)
            is_same = isinstance(store, HostedStore) and old is not None and old.spec == store.spec
            if is_same and old is not None and isinstance(store, HostedStore):
                store.close()
            found[store.name] = old if is_same and old is not None else store
        self._stores = found
        self._broken = {name: why for name, why in self._broken.items() if name in found}

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Let every store look again; a store that fails keeps the keys it had, if it can."""
        events: list[StoreEvent] = []
        for store in self._stores.values():
            try:
                events += store.refresh()
                self._broken.pop(store.name, None)
            except Exception as error:  # noqa: BLE001 - a broken store never hides another
                events += self._note_broken(store, error)
        return tuple(events)

    def take_events(self) -> tuple[StoreEvent, ...]:
        """What stores with processes of their own reported since."""
        return tuple(event for store in self.hosted for event in store.take_events())

    def identities(self) -> tuple[Identity, ...]:
        """The union; of a key that two stores hold, the first store's."""
        found: dict[bytes, Identity] = {}
        for store in self._stores.values():
            try:
                held = store.identities()
            except Exception as error:  # noqa: BLE001 - a broken store never hides another
                self._note_broken(store, error)
                continue
            for identity in held:
                found.setdefault(identity.key_blob, identity)
        return tuple(found.values())

    def export(self) -> tuple[KeyRecord, ...]:
        """Every identity with what a worker signs with; those that cannot be had are left out."""
        records: list[KeyRecord] = []
        for identity in self.identities():
            store = self._stores[identity.store]
            try:
                records.append(store.export(identity))
            except Exception as error:  # noqa: BLE001 - a broken store never hides another
                self._note_broken(store, error)
        return tuple(records)

    def health(self) -> tuple[StoreHealth, ...]:
        """Of every store, in order."""
        return tuple(map(self._health_of, self._stores.values()))

    def _health_of(self, store: KeyStore) -> StoreHealth:
        if store.name in self._broken:
            reason, since_s = self._broken[store.name]
            return StoreHealth(
                store.name, store.kind, is_well=False, identities=0, reason=reason, since_s=since_s
            )
        return store.health()

    def _note_broken(self, store: KeyStore, error: Exception) -> tuple[StoreEvent, ...]:
        """Remember why; answers an event if that is news."""
        reason = f"{type(error).__name__}: {error}"
        if self._broken.get(store.name, ("", 0.0))[0] == reason:
            return ()
        self._broken[store.name] = reason, time.time()
        return (StoreEvent(store.name, "store_broken", store.name, reason),)
