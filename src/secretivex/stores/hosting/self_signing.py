"""What stores have in common whose own process signs, one signature after another.

Rule for editors: a signature leaves only after it was verified with the key that was asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from secretivex.identity import Identity, KeyRecord, StoreHealth
from secretivex.stores.certificates import Certificates
from secretivex.stores.hosting.endpoint import RemoteKey
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.pkcs11.objects import choose_format
from secretivex.stores.token.errors import TokenError
from sshwire.errors import VerificationError
from sshwire.keyblob import PublicKey
from sshwire.signature import Signature, encode_signature, verify_signature

Handle = TypeVar("Handle")


@dataclass(frozen=True, slots=True)
class HeldKey(Generic[Handle]):
    """A key of a device, and what the device knows it by."""

    key: PublicKey
    comment: str
    handle: Handle


class SelfSigningStore(ABC, Generic[Handle]):
    """Keys by comment, then blob. `failed` is the word for a device that signs wrongly."""

    kind: ClassVar[str]
    failed: ClassVar[str]
    tend_every_s: ClassVar[float] = 1.0

    def __init__(self, setup: StoreSetup) -> None:
        self.name = setup.name
        self._endpoint = setup.endpoint
        self._certificates = Certificates(setup.settings.get("certificates") or ())
        self._types = tuple(setup.settings.get("key_types") or ())
        self._held: dict[bytes, HeldKey[Handle]] = {}
        self._failure: TokenError | None = None

    def fileno(self) -> int:
        """Nothing wakes it."""
        return -1

    @property
    def _state(self) -> tuple[object, ...]:
        """What is news when it changes."""
        return tuple(self._held), str(self._failure)

    def identities(self) -> tuple[Identity, ...]:
        """The keys, each followed by its certificates."""
        keys = [(held.key, held.comment) for held in self._held.values()]
        return self._certificates.offer(keys, self.name, self._types)

    def export(self, identity: Identity) -> KeyRecord:
        """Whom a worker asks."""
        if identity not in self.identities() or self._endpoint is None:
            raise LookupError(f"{identity.comment} is not here")
        return KeyRecord(identity, b"", signer=self._endpoint.signer(1))

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        record = self.export(identity)
        assert record.signer is not None  # noqa: S101 - for the type checker: `export` sets it
        return RemoteKey(record.signer, identity.key_blob).sign(data, flags)

    def sign_with(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature of a plain key, verified; raises `TokenError`."""
        held = self._held.get(key.blob)
        if held is None:
            raise TokenError("key_gone", "the store does not hold this key any more")
        name = choose_format(key, flags)
        signature = encode_signature(Signature(name, self._sign_raw(held, name, data)))
        try:
            verify_signature(key, signature, data)
        except VerificationError as error:
            raise TokenError(self.failed, "the device's signature is wrong") from error
        return signature

    @abstractmethod
    def _sign_raw(self, held: HeldKey[Handle], signature_format: str, data: bytes) -> bytes:
        """The body of a signature as its format has it; raises `TokenError`."""

    def health(self) -> StoreHealth:
        """Well while the device answers."""
        failure = self._failure
        return StoreHealth(
            self.name,
            self.kind,
            is_well=failure is None,
            identities=len(self.identities()),
            reason="" if failure is None else f"{failure.reason}: {failure}",
            remedy="" if failure is None else failure.remedy,
        )
