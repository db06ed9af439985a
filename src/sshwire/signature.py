"""Signature blobs and their verification: RFC 4253 section 6.6, 5656, 8332, 8709, PROTOCOL.u2f.

A blob is `string format, string signature`; a security key's adds `byte flags, uint32 counter`.
Rule for editors: verification returns nothing or raises; what is over SHA-1 never verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sshwire.algorithms import SignatureFormat, find_signature_format
from sshwire.errors import UnsupportedError, VerificationError, WireError
from sshwire.keyblob import MAX_ALGORITHM_NAME_BYTES, PublicFields, PublicKey, load_public_fields
from sshwire.wire import (
    Reader,
    encode_byte,
    encode_mpint,
    encode_string,
    encode_text,
    encode_uint32,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

SK_USER_PRESENT = 0x01
"""Flag of PROTOCOL.u2f: someone touched the security key."""

SK_USER_VERIFIED = 0x04
"""Flag of PROTOCOL.u2f: the security key verified who (PIN or fingerprint)."""

MAX_SIGNATURE_BYTES = 16384 // 8
"""The longest signature: one of the largest RSA modulus."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature; `sk_flags` and `sk_counter` are a security key's, else None.

    Whether a security key must have been touched is the caller's policy: look at `sk_flags`.
    """

    format: str
    blob: bytes
    sk_flags: int | None = None
    sk_counter: int | None = None


def parse_signature(blob: bytes) -> Signature:
    """Take a signature blob apart; the format must be one we know."""
    reader = Reader(blob)
    try:
        name = reader.string(MAX_ALGORITHM_NAME_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError("signature format is not US-ASCII") from error
    row = find_signature_format(name)
    raw = reader.string(MAX_SIGNATURE_BYTES)
    flags = reader.byte() if row.is_security_key else None
    counter = reader.uint32() if row.is_security_key else None
    reader.finish()
    return Signature(name, raw, flags, counter)


def encode_signature(signature: Signature) -> bytes:
    """The blob of a signature: what SSH_AGENT_SIGN_RESPONSE and SSHSIG carry."""
    row = find_signature_format(signature.format)
    head = encode_text(signature.format) + encode_string(signature.blob)
    if not row.is_security_key:
        return head
    if signature.sk_flags is None or signature.sk_counter is None:
        raise WireError(f"{signature.format} signature without flags and counter")
    return head + encode_byte(signature.sk_flags) + encode_uint32(signature.sk_counter)


def encode_ecdsa(r: int, s: int) -> bytes:
    """RFC 5656 section 3.1.2: the two numbers of an ECDSA signature."""
    return encode_mpint(r) + encode_mpint(s)


def verify_signature(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Raise `VerificationError` unless `signature` is one of `data` by `key` (or its inner key).

    Reasons: `malformed_signature`, `unsupported_signature`, `algorithm_mismatch`, `sha1_refused`,
    `bad_signature`.
    """
    verify_by(load_public_fields(key), signature, data)


def verify_by(fields: PublicFields, signature: bytes, data: bytes) -> None:
    """The same by a key that is loaded already, for whoever verifies many by one key."""
    verify_parsed(fields, _parse_untrusted(signature), data)


def verify_parsed(fields: PublicFields, signature: Signature, data: bytes) -> None:
    """The same of a signature that is apart already, for whoever made it."""
    name = signature.format
    if name not in fields.row.signature_formats:
        message = f"{name} signature for a {fields.row.plain_name} key"
        raise VerificationError("algorithm_mismatch", message)
    if find_signature_format(name).hash_name == "sha1":
        raise VerificationError("sha1_refused", f"{name} signatures use SHA-1 and are refused")
    _verify(fields, signature, _signed_bytes(fields, signature, data))


def _parse_untrusted(signature: bytes) -> Signature:
    try:
        return parse_signature(signature)
    except UnsupportedError as error:
        raise VerificationError("unsupported_signature", str(error)) from error
    except WireError as error:
        raise VerificationError("malformed_signature", str(error)) from error


def _signed_bytes(fields: PublicFields, signature: Signature, data: bytes) -> bytes:
    """PROTOCOL.u2f: a security key signs hashes of the application and the data, not the data."""
    if fields.application is None or signature.sk_flags is None or signature.sk_counter is None:
        return data
    return (
        hashlib.sha256(fields.application.encode()).digest()
        + encode_byte(signature.sk_flags)
        + encode_uint32(signature.sk_counter)
        + hashlib.sha256(data).digest()
    )


def _verify(fields: PublicFields, signature: Signature, signed: bytes) -> None:
    from cryptography.exceptions import InvalidSignature

    row = find_signature_format(signature.format)
    try:
        _VERIFIERS[fields.row.family](fields.loaded, signature.blob, signed, row)
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("bad_signature", "the signature does not match") from error


def hash_algorithm(row: SignatureFormat) -> HashAlgorithm:
    """The hash of a format in the terms of `cryptography`; SHA-1 is not among them."""
    from cryptography.hazmat.primitives import hashes

    known: Mapping[str, HashAlgorithm] = {
        "sha256": hashes.SHA256(),
        "sha384": hashes.SHA384(),
        "sha512": hashes.SHA512(),
    }
    return known[row.hash_name]


# `loaded` is Any below: the table of rows, not the type checker, ties a family to its key class.
def _verify_ed25519(loaded: Any, raw: bytes, signed: bytes, _row: SignatureFormat) -> None:
    loaded.verify(raw, signed)


def _verify_ecdsa(loaded: Any, raw: bytes, signed: bytes, row: SignatureFormat) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    reader = Reader(raw)
    r, s = reader.mpint(), reader.mpint()
    reader.finish()
    loaded.verify(encode_dss_signature(r, s), signed, ECDSA(hash_algorithm(row)))


def _verify_rsa(loaded: Any, raw: bytes, signed: bytes, row: SignatureFormat) -> None:
    """OpenSSH's ssh-rsa.c takes a signature shorter than the modulus as one that lost its zeros."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    padded = raw.rjust((loaded.key_size + 7) // 8, b"\x00")
    loaded.verify(padded, signed, PKCS1v15(), hash_algorithm(row))


_VERIFIERS: Mapping[str, Callable[[Any, bytes, bytes, SignatureFormat], None]] = {
    "ed25519": _verify_ed25519,
    "ecdsa": _verify_ecdsa,
    "rsa": _verify_rsa,
}
