"""Public keys as files and people know them: blobs, one-line text, fingerprints.

RFC 4253 section 6.6 and the `.pub` line of ssh-keygen. Rule for editors: `parse_public_key` vouches for
the whole blob; nothing is accepted here that a later step would have to check again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from sshwire.cert import parse_certificate
from sshwire.errors import UnsupportedError, WireError
from sshwire.keyblob import PublicKey, plain_public_key, read_algorithm, read_public_fields
from sshwire.wire import MAX_STRING_BYTES, Reader

__all__ = [
    "MAX_LINE_CHARS",
    "PublicKey",
    "encode_public_line",
    "fingerprint",
    "md5_fingerprint",
    "parse_public_key",
    "parse_public_line",
    "plain_public_key",
]

MAX_LINE_CHARS = MAX_STRING_BYTES * 4 // 3 + 8192
"""The longest blob in base64, and room for a name and a comment."""

_FINGERPRINT_HASHES = ("sha256", "sha512")


def parse_public_key(blob: bytes) -> PublicKey:
    """A key or certificate from its blob, every field of it checked."""
    if len(blob) > MAX_STRING_BYTES:
        raise WireError(f"key blob of {len(blob)} bytes is over the limit of {MAX_STRING_BYTES}")
    reader = Reader(blob)
    row = read_algorithm(reader)
    if row.is_certificate:
        return parse_certificate(blob).key
    read_public_fields(reader, row)
    reader.finish()
    return PublicKey(row.name, blob)


def parse_public_line(line: str) -> tuple[PublicKey, str]:
    """A key and its comment from `algorithm base64 [comment]`."""
    if len(line) > MAX_LINE_CHARS:
        raise WireError(f"public key line of {len(line)} characters: at most {MAX_LINE_CHARS}")
    parts = re.split("[ \t]+", line.strip(" \t\r\n"), maxsplit=2)
    if len(parts) < 2:
        raise WireError("not a public key line: `algorithm base64 [comment]` wanted")
    comment = parts[2] if len(parts) == 3 else ""
    _check_comment(comment)
    key = parse_public_key(_decode_base64(parts[1]))
    if key.algorithm != parts[0]:
        raise WireError(f"the line says {parts[0][:64]!r}, its key is {key.algorithm!r}")
    return key, comment


def encode_public_line(key: PublicKey, comment: str = "") -> str:
    """`algorithm base64 [comment]`, without a line end."""
    _check_comment(comment)
    encoded = base64.b64encode(key.blob).decode()
    return f"{key.algorithm} {encoded} {comment}".rstrip(" ")


def fingerprint(blob: bytes, hash_name: str = "sha256") -> str:
    """`SHA256:...` as ssh-keygen -l prints it: a certificate has the fingerprint of its plain key."""
    if hash_name not in _FINGERPRINT_HASHES:
        raise UnsupportedError(f"unknown fingerprint hash: {hash_name[:64]!r}")
    digest = hashlib.new(hash_name, _plain_blob(blob)).digest()
    return f"{hash_name.upper()}:{base64.b64encode(digest).decode().rstrip('=')}"


def md5_fingerprint(blob: bytes) -> str:
    """`MD5:aa:bb:...` as ssh-keygen -l -E md5 prints it: for people to compare, never to decide by."""
    digest = hashlib.md5(_plain_blob(blob), usedforsecurity=False).digest()
    return f"MD5:{digest.hex(':')}"


def _plain_blob(blob: bytes) -> bytes:
    row = read_algorithm(Reader(blob))
    return plain_public_key(PublicKey(row.name, blob)).blob


def _check_comment(comment: str) -> None:
    if any(char in comment for char in "\r\n\x00"):
        raise WireError("a comment is one line of text")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("public key is not base64") from error
