"""A Secure Enclave in software: real P-256 keys, and whatever status a test orders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secretivex.stores.secure_enclave.port import Access, Consent, EnclaveKey, Refusal


class StandIn:
    """`orders` maps the name of a call to the status that it answers."""

    def __init__(self) -> None:
        self.orders: dict[str, int] = {}
        self.keys: dict[bytes, ec.EllipticCurvePrivateKey] = {}
        self.labels: dict[bytes, str] = {}
        self.accesses: dict[bytes, Access] = {}
        self.consents: list[Consent] = []
        self._person = threading.Event()
        self._person.set()

    @contextmanager
    def thinking(self) -> Iterator[None]:
        """While it lasts, the person who is asked does not answer."""
        self._person.clear()
        try:
            yield
        finally:
            self._person.set()

    def create(self, label: str, access: Access) -> EnclaveKey | Refusal:
        if "create" in self.orders:
            return Refusal(self.orders["create"])
        secret = ec.generate_private_key(ec.SECP256R1())
        point = secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.keys[point], self.labels[point], self.accesses[point] = secret, label, access
        return EnclaveKey(label, point, point)

    def discover(self) -> tuple[EnclaveKey, ...] | Refusal:
        if "discover" in self.orders:
            return Refusal(self.orders["discover"])
        return tuple(EnclaveKey(self.labels[point], point, point) for point in self.keys)

    def sign(self, key: EnclaveKey, data: bytes, consent: Consent) -> bytes | Refusal:
        self.consents.append(consent)
        self._person.wait(60)
        if "sign" in self.orders:
            return Refusal(self.orders["sign"])
        if key.handle not in self.keys:
            return Refusal(-25300)
        return self.keys[key.handle].sign(data, ec.ECDSA(SHA256()))

    def delete(self, key: EnclaveKey) -> Refusal | None:
        if "delete" in self.orders:
            return Refusal(self.orders["delete"])
        return None if self.keys.pop(key.handle, None) else Refusal(-25300)
