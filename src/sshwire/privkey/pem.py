"""Private keys in PEM: PKCS#1 and SEC 1 as OpenSSL wrote them, PKCS#8 plain or encrypted.

RFC 7468, 8017, 5915, 5958. The library decodes and decrypts; here its keys become ours and its
exceptions ours. Rule for editors: OpenSSH's own format does not pass through here.
"""

from __future__ import annotations

from typing import Any

from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.privkey.fields import encode_private_fields, parse_private_fields
from sshwire.privkey.key import PrivateKey
from sshwire.pubkey import parse_public_line
from sshwire.wire import Reader

MARKS = (
    b"-----BEGIN RSA PRIVATE KEY-----",
    b"-----BEGIN EC PRIVATE KEY-----",
    b"-----BEGIN PRIVATE KEY-----",
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
)


def is_pem(data: bytes) -> bool:
    """Whether a file looks like one of these; text may stand before the mark."""
    return any(mark in data for mark in MARKS)


def parse_pem(data: bytes, passphrase: bytes | None) -> PrivateKey:
    """The key of a file; blocks for the derivation. A passphrase that is not needed is ignored."""
    is_encrypted = b"ENCRYPTED" in data
    if is_encrypted and passphrase is None:
        raise PassphraseError("the key is encrypted, and no passphrase was given")
    secret = _load(data, passphrase if is_encrypted else None, is_encrypted=is_encrypted)
    key = PrivateKey(_public_half(secret), "", secret)
    # The reader of fields checks the arithmetic, which the library does slowly or not at all.
    reader = Reader(encode_private_fields(key))
    return parse_private_fields(reader, reader.text())


def _load(data: bytes, passphrase: bytes | None, *, is_encrypted: bool) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(data, passphrase, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError("a private key of a kind that SSH does not have") from error
    except (ValueError, TypeError) as error:
        if is_encrypted:
            raise PassphraseError("wrong passphrase, or the file is damaged") from error
        raise WireError("not a usable PEM private key") from error


def _public_half(secret: Any) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        line = secret.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, UnsupportedAlgorithm, AttributeError) as error:
        raise UnsupportedError("a private key of a kind that SSH does not have") from error
    return parse_public_line(line.decode())[0]
