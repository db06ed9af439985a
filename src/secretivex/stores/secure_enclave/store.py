"""The Secure Enclave's keys as a store, above the port to macOS.

Rule for editors: nothing here imports PyObjC, so all of it is tested anywhere.
"""

from __future__ import annotations

import time
from platform import system

from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.certificates import Certificates
from secretivex.stores.hosting.endpoint import RemoteKey
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.pkcs11.objects import choose_format
from secretivex.stores.secure_enclave.port import Consent, Enclave, EnclaveKey, Refusal, explain
from secretivex.stores.token.errors import TokenError
from sshwire.errors import VerificationError, WireError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key
from sshwire.signature import Signature, encode_ecdsa, encode_signature, verify_signature
from sshwire.wire import encode_string, encode_text

LOOK_EVERY_S = 10.0
"""How often the keys are looked for by themselves."""

ALGORITHM = "ecdsa-sha2-nistp256"
"""The Enclave makes keys on P-256 and no others: kSecAttrTokenIDSecureEnclave."""


class EnclaveStore:
    """The Enclave's keys, by label, then blob."""

    kind = "secure_enclave"
    tend_every_s = 1.0

    def __init__(self, setup: StoreSetup, enclave: Enclave) -> None:
        settings = setup.settings
        self.name = setup.name
        self._endpoint = setup.endpoint
        self._enclave = enclave
        self._consent = Consent(settings["prompt"], settings["reuse_ms"] / 1000)
        self._certificates = Certificates(settings.get("certificates") or ())
        self._types = tuple(settings.get("key_types") or ())
        self._held: dict[bytes, tuple[PublicKey, EnclaveKey]] = {}
        self._failure: TokenError | None = None
        self._reported: dict[str, str] = {}
        self._looked_at = 0.0

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Look for keys again; those that were there stay while the system does not say."""
        self._looked_at = time.monotonic()
        self._certificates.refresh()
        found = self._enclave.discover()
        if isinstance(found, Refusal):
            self._failure = explain(found)
            return self.news()
        self._failure = None
        self._held = {}
        for one in found:
            try:
                key = public_key_of(one)
            except WireError:
                continue
            self._held[key.blob] = (key, one)
        return self.news()

    def news(self) -> tuple[StoreEvent, ...]:
        """What was not reported before."""
        problems = dict(self._certificates.problems)
        if self._failure is not None:
            problems[self.name] = str(self._failure)
        fresh = problems.items() - self._reported.items()
        self._reported = problems
        return tuple(StoreEvent(self.name, "store_broken", *one) for one in sorted(fresh))

    def tend(self) -> bool:
        """Look from time to time; whether there is news."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return False
        before = (tuple(self._held), str(self._failure))
        self.refresh()
        return before != (tuple(self._held), str(self._failure))

    def fileno(self) -> int:
        """Nothing wakes it."""
        return -1

    def close(self) -> None:
        """Nothing runs."""

    def identities(self) -> tuple[Identity, ...]:
        """The keys found, each followed by its certificates."""
        found = [
            Identity(offered.blob, one.label, offered.algorithm, self.name)
            for key, one in self._held.values()
            for offered in (key, *self._certificates.of(key.blob))
            if not self._types or offered.algorithm in self._types
        ]
        return tuple(sorted(found, key=lambda one: (one.comment, one.key_blob)))

    def export(self, identity: Identity) -> KeyRecord:
        """Whom a worker asks."""
        if identity not in self.identities() or self._endpoint is None:
            raise LookupError(f"{identity.comment} is not here")
        return KeyRecord(identity, b"", signer=self._endpoint.signer(1))

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        record = self.export(identity)
        if record.signer is None:
            raise LookupError(f"{identity.comment} is not here")
        return RemoteKey(record.signer, identity.key_blob).sign(data, flags)

    def sign_with(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature of a plain key, verified; raises `TokenError`."""
        held = self._held.get(key.blob)
        if held is None:
            raise TokenError("key_gone", "the Enclave does not hold this key")
        name = choose_format(key, flags)
        answer = self._enclave.sign(held[1], data, self._consent)
        if isinstance(answer, Refusal):
            raise explain(answer)
        signature = encode_signature(Signature(name, _numbers(answer)))
        try:
            verify_signature(key, signature, data)
        except VerificationError as error:
            raise TokenError("enclave_failed", "the Enclave's signature is wrong") from error
        return signature

    def health(self) -> StoreHealth:
        """Well while the system lets us look."""
        failure = self._failure
        return StoreHealth(
            self.name,
            self.kind,
            is_well=failure is None,
            identities=len(self.identities()),
            reason="" if failure is None else f"{failure.reason}: {failure}",
            remedy="" if failure is None else failure.remedy,
        )


def public_key_of(key: EnclaveKey) -> PublicKey:
    """The SSH key of an Enclave's; raises `WireError`."""
    blob = encode_text(ALGORITHM) + encode_text("nistp256") + encode_string(key.point)
    return parse_public_key(blob)


def _numbers(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    try:
        return encode_ecdsa(*decode_dss_signature(der))
    except ValueError as error:
        raise TokenError("enclave_failed", "the Enclave's signature is no DER") from error


def open_enclave_store(setup: StoreSetup) -> EnclaveStore:
    """The store of this Mac; raises `TokenError` elsewhere."""
    if system() != "Darwin":
        raise TokenError("store_unavailable", "only a Mac has a Secure Enclave")
    from secretivex.stores.secure_enclave.macos import MacEnclave

    return EnclaveStore(setup, MacEnclave())
