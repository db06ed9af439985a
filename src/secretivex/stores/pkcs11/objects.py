"""Objects of a token as SSH keys: PKCS#11 attributes in, public key blobs out, and back to bytes.

Attribute encodings: PKCS #11 v3.0 sections 2.1.2 and 2.3.3; RFC 8410 for Ed25519. Rule for editors:
nothing here speaks to a module; what a token says is checked as anything from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sshwire.agent.numbers import SignFlag
from sshwire.algorithms import KeyAlgorithm, find_algorithm, find_signature_format
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key
from sshwire.signature import Signature, encode_ecdsa
from sshwire.wire import encode_mpint, encode_string, encode_text

CURVES: Mapping[bytes, str] = {
    bytes.fromhex("06082a8648ce3d030107"): "nistp256",
    bytes.fromhex("06052b81040022"): "nistp384",
    bytes.fromhex("06052b81040023"): "nistp521",
}
"""DER of CKA_EC_PARAMS: the object identifiers of RFC 5480 section 2.1.1.1."""

ED25519_PARAMS = frozenset(
    {bytes.fromhex("130c656477617264733235353139"), bytes.fromhex("06032b6570")}
)
"""The PrintableString "edwards25519" of PKCS #11, or the identifier of RFC 8410."""

DIGEST_PREFIXES: Mapping[str, bytes] = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""RFC 8017 section 9.2, note 1: the DER of DigestInfo before the digest."""

KNOWN_FLAGS = int(SignFlag.RSA_SHA2_256 | SignFlag.RSA_SHA2_512)


@dataclass(frozen=True, slots=True)
class TokenObject:
    """A public key of a token, with the label and the identifier that its private half shares."""

    key: PublicKey
    label: str
    key_id: bytes


def rsa_key(modulus: bytes, exponent: bytes) -> PublicKey:
    """From CKA_MODULUS and CKA_PUBLIC_EXPONENT; raises `WireError`."""
    e, n = int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
    return parse_public_key(encode_text("ssh-rsa") + encode_mpint(e) + encode_mpint(n))


def curve_key(params: bytes, point: bytes) -> PublicKey:
    """From CKA_EC_PARAMS and CKA_EC_POINT; raises `WireError`."""
    if params in ED25519_PARAMS:
        raw = _unwrap(point, 32)
        return parse_public_key(encode_text("ssh-ed25519") + encode_string(raw))
    curve = CURVES.get(params)
    if curve is None:
        raise WireError("a curve that SSH does not have")
    name = f"ecdsa-sha2-{curve}"
    row = find_algorithm(name)
    size = 1 + 2 * (row.curve.field_bytes if row.curve else 0)
    raw = _unwrap(point, size)
    return parse_public_key(encode_text(name) + encode_text(curve) + encode_string(raw))


def certificate_key(der: bytes) -> PublicKey:
    """The key of an X.509 certificate; raises `WireError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    from sshwire.pubkey import parse_public_line

    try:
        loaded = load_der_x509_certificate(der).public_key()
        line = loaded.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WireError("a certificate whose key SSH does not have") from error
    return parse_public_line(line.decode())[0]


def _unwrap(point: bytes, size: int) -> bytes:
    """A point as an OCTET STRING of DER, or bare as some tokens have it."""
    if len(point) == size:
        return point
    head = bytes((4, size)) if size < 128 else bytes((4, 0x81, size))
    if point.startswith(head) and len(point) == len(head) + size:
        return point[len(head) :]
    raise WireError(f"a point of {len(point)} bytes")


def choose_format(key: PublicKey, flags: int) -> str:
    """The signature format for a key and flags, as software keys choose it; raises `WireError`."""
    if flags & ~KNOWN_FLAGS:
        raise WireError(f"unknown sign flags: {flags:#x}")
    row = find_algorithm(key.algorithm)
    if row.family == "rsa":
        return "rsa-sha2-512" if flags == SignFlag.RSA_SHA2_512 else "rsa-sha2-256"
    return row.signature_formats[0]


def message_for(row: KeyAlgorithm, signature_format: str, data: bytes) -> bytes:
    """What a token that does no hashing is given to sign."""
    hash_name = find_signature_format(signature_format).hash_name
    if row.family == "ed25519":
        return data
    digest = hashlib.new(hash_name, data).digest()
    return DIGEST_PREFIXES[hash_name] + digest if row.family == "rsa" else digest


def shape_signature(row: KeyAlgorithm, signature_format: str, raw: bytes) -> Signature:
    """The signature that a token answered: for ECDSA, two numbers side by side."""
    if row.family == "ecdsa":
        half = len(raw) // 2
        raw = encode_ecdsa(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    return Signature(signature_format, raw)
