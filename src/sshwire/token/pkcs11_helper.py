"""The conversation with OpenSSH's `ssh-pkcs11-helper`: agent-like frames over one stream.

    ADD_SMARTCARD_KEY   string provider, string pin   -> IDENTITIES_ANSWER | FAILURE, uint32 code
    SIGN_REQUEST        string key blob, ...          -> SIGN_RESPONSE, string signature | FAILURE

Up to OpenSSH 10.0 the helper signs what it is given: `string digest, uint32 0`, and answers the bare
number or the DER of an ECDSA pair. Since 10.1 it gets `string data, string algorithm, uint32 0` and
answers a whole SSH signature. Source: ssh-pkcs11-client.c. Rule for editors: a request of one dialect
must never be sent to a helper of the other, which would sign something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from sshwire.agent.numbers import (
    MAX_IDENTITIES,
    OTHER_FAILURES,
    ReplyNumber,
    RequestNumber,
    SignFlag,
)
from sshwire.algorithms import KeyAlgorithm, find_algorithm, find_signature_format
from sshwire.errors import UnsupportedError, WireError
from sshwire.keyblob import PublicKey
from sshwire.signature import Signature, encode_ecdsa, encode_signature, parse_signature
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32

MAX_REPLY_BYTES: Final = 256 * 1024
"""Longest reply that OpenSSH's own client takes."""

_LOAD_FAILURES: Final[Mapping[int, str]] = MappingProxyType(
    # SSH_PKCS11_ERR_* of ssh-pkcs11.h, without the sign.
    {2: "pin_refused", 3: "pin_required", 4: "pin_locked"}
)

_DIGEST_PREFIXES: Final[Mapping[str, bytes]] = MappingProxyType(
    # RFC 8017 section 9.2, note 1: the DER of DigestInfo before the digest.
    {
        "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
        "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
    }
)

_FAILURES: Final = frozenset({int(ReplyNumber.FAILURE)}) | OTHER_FAILURES
"""The helper says 30, SSH2_AGENT_FAILURE of authfd.h."""

_PROBE_KEY: Final = encode_text("ssh-ed25519") + encode_string(bytes((1,)) + bytes(31))
"""A key that no token holds: its point is the neutral one."""


class Dialect(Enum):
    """What a helper expects of a sign request."""

    DIGEST = "digest"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that a module offers."""

    key_blob: bytes
    label: str


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """The module gave no keys; `reason` is a stable word."""

    reason: str


def encode_dialect_probe() -> bytes:
    """A digest request for a key that is not there: the older dialect refuses, the newer ends."""
    return _frame(
        RequestNumber.SIGN_REQUEST,
        encode_string(_PROBE_KEY) + encode_string(bytes(32)) + encode_uint32(0),
    )


def encode_load_request(provider: str, pin: bytes) -> bytes:
    """Open a module, log in with a PIN where there is one, and list its keys."""
    return _frame(RequestNumber.ADD_SMARTCARD_KEY, encode_text(provider) + encode_string(pin))


def parse_load_reply(payload: bytes) -> tuple[TokenKey, ...] | LoadFailure:
    """The keys, or why there are none."""
    reader = Reader(payload)
    number = reader.byte()
    if number in _FAILURES:
        code = reader.uint32() if reader.remaining else 0
        return LoadFailure(_LOAD_FAILURES.get(code, "module_refused"))
    if number != ReplyNumber.IDENTITIES_ANSWER:
        raise WireError(f"ssh-pkcs11-helper answered with message {number}")
    count = reader.uint32()
    if count > MAX_IDENTITIES:
        raise WireError(f"a module with {count} keys")
    return tuple(
        TokenKey(reader.string(), reader.string().decode(errors="replace")) for _ in range(count)
    )


def choose_format(key: PublicKey, flags: int) -> str:
    """The signature format for a key and the flags of a request, as software keys choose it."""
    row = find_algorithm(key.algorithm)
    if row.family == "rsa":
        return "rsa-sha2-512" if flags == SignFlag.RSA_SHA2_512 else "rsa-sha2-256"
    return row.signature_formats[0]


def encode_token_sign_request(
    key: PublicKey, data: bytes, signature_format: str, dialect: Dialect
) -> bytes:
    """A request to sign with a plain key; raises `UnsupportedError` for what a dialect cannot."""
    if dialect is Dialect.DATA:
        rest = encode_string(data) + encode_text(signature_format) + encode_uint32(0)
    else:
        rest = encode_string(_digest(key, data, signature_format)) + encode_uint32(0)
    return _frame(RequestNumber.SIGN_REQUEST, encode_string(key.blob) + rest)


def parse_token_sign_reply(
    payload: bytes, key: PublicKey, signature_format: str, dialect: Dialect
) -> bytes | None:
    """The encoded signature; None if the module would not sign."""
    reader = Reader(payload)
    number = reader.byte()
    if number in _FAILURES:
        return None
    if number != ReplyNumber.SIGN_RESPONSE:
        raise WireError(f"ssh-pkcs11-helper answered with message {number}")
    raw = reader.string()
    if dialect is Dialect.DATA:
        if parse_signature(raw).format != signature_format:
            raise WireError("ssh-pkcs11-helper signed with another algorithm")
        return raw
    row = find_algorithm(key.algorithm)
    return encode_signature(Signature(signature_format, _raw_signature(row, raw)))


def _digest(key: PublicKey, data: bytes, signature_format: str) -> bytes:
    row = find_algorithm(key.algorithm)
    hash_name = find_signature_format(signature_format).hash_name
    if row.family == "ed25519" or not hash_name:
        raise UnsupportedError(f"this ssh-pkcs11-helper cannot sign with {key.algorithm}")
    digest = hashlib.new(hash_name, data).digest()
    return _DIGEST_PREFIXES[hash_name] + digest if row.family == "rsa" else digest


def _raw_signature(row: KeyAlgorithm, raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if row.family == "rsa":
        return raw
    try:
        return encode_ecdsa(*decode_dss_signature(raw))
    except ValueError as error:
        raise WireError("ssh-pkcs11-helper answered with no ECDSA signature") from error


def _frame(number: RequestNumber, body: bytes) -> bytes:
    return encode_string(encode_byte(number) + body)
