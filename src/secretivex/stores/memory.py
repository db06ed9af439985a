"""Keys held in memory: those that clients add, and the base that other software stores fill.

Rule for editors: nothing here is ever written to a disk.
"""

from __future__ import annotations

from secretivex.identity import (
    UNRESTRICTED,
    Identity,
    KeyRecord,
    Restrictions,
    StoreEvent,
    StoreHealth,
)
from sshwire.privkey import PrivateKey, encode_private_fields


class MemoryStore:
    """Private keys by public blob, in the order in which they were added.

    Adding a key again replaces it and its comment and keeps its place, as OpenSSH's agent does.
    """

    kind = "memory"

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._keys: dict[bytes, tuple[Identity, PrivateKey]] = {}
        self._restrictions: dict[bytes, Restrictions] = {}

    def add(self, key: PrivateKey, restrictions: Restrictions = UNRESTRICTED) -> Identity:
        """Hold a key under its own comment."""
        identity = Identity(key.public.blob, key.comment, key.public.algorithm, self.name)
        self._keys[identity.key_blob] = (identity, key)
        self._restrictions[identity.key_blob] = restrictions
        return identity

    def remove(self, key_blob: bytes) -> bool:
        """Forget a key; False if it was not here."""
        self._restrictions.pop(key_blob, None)
        return self._keys.pop(key_blob, None) is not None

    def holds(self, key_blob: bytes) -> bool:
        """Whether a key is here."""
        return key_blob in self._keys

    def clear(self) -> None:
        """Forget every key."""
        self._keys.clear()
        self._restrictions.clear()

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Nothing changes here by itself."""
        return ()

    def identities(self) -> tuple[Identity, ...]:
        """What is held, oldest first."""
        return tuple(identity for identity, _ in self._keys.values())

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        return self._keys[identity.key_blob][1].sign(data, flags)

    def export(self, identity: Identity) -> KeyRecord:
        """The key itself, for a worker."""
        held, key = self._keys[identity.key_blob]
        return KeyRecord(held, encode_private_fields(key), self._restrictions[held.key_blob])

    def health(self) -> StoreHealth:
        """Memory is always well."""
        return StoreHealth(self.name, self.kind, is_well=True, identities=len(self._keys))
