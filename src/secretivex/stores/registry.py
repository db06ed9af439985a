"""All stores as one: the union of their keys, each listed once.

Order is store order, then the store's own. Rule for editors: whatever one store raises, the keys
of the others stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from secretivex.identity import Identity, KeyRecord, KeyStore, StoreEvent, StoreHealth


class Registry:
    """Stores in the order in which their keys are offered."""

    def __init__(self, stores: Sequence[KeyStore]) -> None:
        names = [store.name for store in stores]
        if len(set(names)) != len(names):
            raise ValueError(f"two stores have one name: {', '.join(sorted(names))}")
        self._stores = {store.name: store for store in stores}
        self._broken: dict[str, str] = {}

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
        reason = self._broken.get(store.name)
        if reason is not None:
            return StoreHealth(store.name, store.kind, is_well=False, identities=0, reason=reason)
        return store.health()

    def _note_broken(self, store: KeyStore, error: Exception) -> tuple[StoreEvent, ...]:
        """Remember why; answers an event if that is news."""
        reason = f"{type(error).__name__}: {error}"
        if self._broken.get(store.name) == reason:
            return ()
        self._broken[store.name] = reason
        return (StoreEvent(store.name, "store_broken", store.name, reason),)
