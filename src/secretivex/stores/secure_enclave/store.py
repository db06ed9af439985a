"""The Secure Enclave's keys as a store, above the port to macOS.

Rule for editors: nothing here imports PyObjC, so all of it is tested anywhere.
"""

from __future__ import annotations

import time
from platform import system

from secretivex.identity import StoreEvent
from secretivex.stores.hosting.self_signing import HeldKey, SelfSigningStore
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.secure_enclave.port import Consent, Enclave, EnclaveKey, Refusal, explain
from secretivex.stores.token.errors import TokenError
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key
from sshwire.signature import encode_ecdsa
from sshwire.wire import encode_string, encode_text

LOOK_EVERY_S = 10.0
"""How often the keys are looked for by themselves."""

ALGORITHM = "ecdsa-sha2-nistp256"
"""The Enclave makes keys on P-256 and no others: kSecAttrTokenIDSecureEnclave."""


class EnclaveStore(SelfSigningStore[EnclaveKey]):
    """The Enclave's keys, by label, then blob."""

    kind = "secure_enclave"
    failed = "enclave_failed"

    def __init__(self, setup: StoreSetup, enclave: Enclave) -> None:
        super().__init__(setup)
        self._enclave = enclave
        self._consent = Consent(setup.settings["prompt"], setup.settings["reuse_ms"] / 1000)
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
            self._held[key.blob] = HeldKey(key, one.label, one)
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
        before = self._state
        self.refresh()
        return before != self._state

    def close(self) -> None:
        """Nothing runs."""

    def _sign_raw(self, held: HeldKey[EnclaveKey], _signature_format: str, data: bytes) -> bytes:
        answer = self._enclave.sign(held.handle, data, self._consent)
        if isinstance(answer, Refusal):
            raise explain(answer)
        return _numbers(answer)


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
