"""The manifest as an in-toto statement in a DSSE envelope, signed by the same key as the SSHSIG.

DSSE 1.0: the signature covers `PAE(payloadType, payload)`. in-toto Statement v1: its subject is
manifest.json by its SHA-256. A security key cannot sign it: what it signs is never the data itself.
Rule for editors: the payload is made from the manifest and compared, never read for its meaning.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from clikit.canonical import encode_canonical
from fleetmdm.evidence.names import MANIFEST
from sshwire.agent.numbers import SignFlag
from sshwire.algorithms import find_algorithm
from sshwire.errors import VerificationError, WireError
from sshwire.keyblob import plain_public_key
from sshwire.pubkey import PublicKey, fingerprint
from sshwire.signature import Signature, encode_signature, parse_signature, verify_signature
from sshwire.sshsig import Signer
from sshwire.wire import Reader, encode_mpint

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:fleetmdm:evidence-pack:1"
MAX_ENVELOPE_BYTES = 1024 * 1024

_RSA_FORMAT = "rsa-sha2-256"
"""PKCS #1 v1.5 over SHA-256: what DSSE libraries call rsa-pkcs1v15-sha256."""


def can_attest(key: PublicKey) -> bool:
    """Whether a key can sign an envelope: all but security keys and dead algorithms."""
    row = find_algorithm(key.algorithm)
    return row.family in ("ed25519", "ecdsa", "rsa") and not row.is_security_key


def encode_statement(manifest: bytes) -> bytes:
    """The payload: which manifest, made by what, for which run, at which head of the log."""
    said = json.loads(manifest)
    predicate = {name: said[name] for name in ("tool", "run", "ledger", "signers")}
    return encode_canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": MANIFEST, "digest": {"sha256": hashlib.sha256(manifest).hexdigest()}}
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {**predicate, "files": len(said["files"])},
        }
    )


def pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and payload, each with its length."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_statement(signer: Signer, payload: bytes) -> bytes:
    """The envelope; raises `WireError` for a key that cannot sign one."""
    key = plain_public_key(signer.public_key)
    if not can_attest(key):
        raise WireError(f"{key.algorithm} cannot sign an attestation")
    rsa = find_algorithm(key.algorithm).family == "rsa"
    signature = signer.sign(pae(payload), SignFlag.RSA_SHA2_256 if rsa else 0)
    return _encode_envelope(payload, fingerprint(key.blob), _to_library_form(signature))


def verify_envelope(data: bytes, *, key: PublicKey, payload: bytes) -> None:
    """Raise `VerificationError` unless `data` is the one envelope of `payload` by `key`.

    Reasons: `malformed`, `not_canonical`, `payload_differs`, `signature_invalid`.
    """
    key = plain_public_key(key)
    said, keyid, raw = _parse_envelope(data)
    if _encode_envelope(said, keyid, raw) != data or keyid != fingerprint(key.blob):
        raise VerificationError("not_canonical", "the envelope is not in the form of this format")
    if said != payload:
        raise VerificationError("payload_differs", "the statement is not about this manifest")
    try:
        verify_signature(key, _from_library_form(key, raw), pae(payload))
    except WireError as error:
        raise VerificationError("signature_invalid", str(error)) from error


def _encode_envelope(payload: bytes, keyid: str, raw: bytes) -> bytes:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(raw).decode()}],
    }
    return encode_canonical(envelope) + b"\n"


def _parse_envelope(data: bytes) -> tuple[bytes, str, bytes]:
    try:
        envelope: Any = json.loads(data)
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        return payload, str(signature["keyid"]), base64.b64decode(signature["sig"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error, RecursionError) as error:
        raise VerificationError("malformed", "the file is not a DSSE envelope") from error


def _to_library_form(blob: bytes) -> bytes:
    """The signature as libraries other than SSH's take it: ECDSA in DER, the others bare."""
    signature = parse_signature(blob)
    if not signature.format.startswith("ecdsa-"):
        return signature.blob
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    reader = Reader(signature.blob)
    r, s = (int.from_bytes(reader.string(), "big") for _ in range(2))
    return encode_dss_signature(r, s)


def _from_library_form(key: PublicKey, raw: bytes) -> bytes:
    family = find_algorithm(key.algorithm).family
    if family == "rsa":
        return encode_signature(Signature(_RSA_FORMAT, raw))
    if family == "ed25519":
        return encode_signature(Signature(key.algorithm, raw))
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    try:
        r, s = decode_dss_signature(raw)
    except ValueError as error:
        raise WireError("the signature is not DER") from error
    if encode_dss_signature(r, s) != raw:
        raise WireError("the signature is not in the one form of DER")
    return encode_signature(Signature(key.algorithm, encode_mpint(r) + encode_mpint(s)))
