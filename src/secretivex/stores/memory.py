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
from sshwire.pubkey import PublicKey


class MemoryStore:
    """Private keys by public blob, in the order in which they were added.

    Adding a key again replaces it and its comment and keeps its place, as OpenSSH's agent does.
    """

    kind = "memory"

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._keys: dict[bytes, tuple[Identity, PrivateKey | None]] = {}
        self._restrictions: dict[bytes, Restrictions] = {}

    def add(self, key: PrivateKey, restrictions: Restrictions = UNRESTRICTED) -> Identity:
        """Hold a key under its own comment."""
        identity = Identity(key.public.blob, key.comment, key.public.algorithm, self.name)
        self._keys[identity.key_blob] = (identity, key)
        self._restrictions[identity.key_blob] = restrictions
        return identity

    def add_on_module(
        self, public: PublicKey, comment: str, restrictions: Restrictions
    ) -> Identity:
        """Hold what there is to hold of a key that a PKCS#11 module keeps."""
        identity = Identity(public.blob, comment, public.algorithm, self.name)
        self._keys[identity.key_blob] = (identity, None)
        self._restrictions[identity.key_blob] = restrictions
        return identity

    def on_module(self, provider: str) -> tuple[bytes, ...]:
        """The blobs of the keys that a module keeps."""
        return tuple(
            blob
            for blob, (_, key) in self._keys.items()
            if key is None and self._restrictions[blob].provider == provider
        )

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
        key = self._keys[identity.key_blob][1]
        if key is None:
            raise LookupError(f"{identity.comment} is in a module, which workers speak to")
        return key.sign(data, flags)

    def export(self, identity: Identity) -> KeyRecord:
        """The key itself, for a worker."""
        held, key = self._keys[identity.key_blob]
        fields = b"" if key is None else encode_private_fields(key)
        return KeyRecord(held, fields, self._restrictions[held.key_blob])

    def health(self) -> StoreHealth:
        """Memory is always well."""
        return StoreHealth(self.name, self.kind, is_well=True, identities=len(self._keys))
