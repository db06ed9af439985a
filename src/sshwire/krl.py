"""Key revocation lists: PROTOCOL.krl of OpenSSH, as `ssh-keygen -k` writes them.

    file:     uint64 magic, uint32 version 1, uint64 serial, uint64 date, uint64 flags,
              string reserved, string comment, sections
    section:  byte type, string data
    types:    1 certificates of one authority, 2 keys, 3 and 5 their SHA-1 and SHA-256 hashes

A list has one date for all it names and none for the single key, so what it names is revoked for
all times. A signature inside a list is refused, since current ssh-keygen neither makes nor checks one.
Rule for editors: what is not understood revokes nothing, so it must be refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sshwire.algorithms import find_algorithm
from sshwire.cert import Certificate, parse_certificate
from sshwire.errors import UnsupportedError, WireError
from sshwire.keyblob import plain_public_key
from sshwire.pubkey import PublicKey
from sshwire.wire import Reader, encode_byte, encode_string, encode_uint32, encode_uint64

MAX_KRL_BYTES: Final = 64 * 1024 * 1024
MAX_SERIALS: Final = 1_000_000
"""Serial numbers and ranges that one list may name."""

_MAGIC: Final = b"SSHKRL\n\0"
_VERSION: Final = 1
_CERTIFICATES, _KEYS, _SHA1, _SHA256, _EXTENSION = 1, 2, 3, 5, 255
_SERIALS, _RANGE, _BITMAP, _KEY_ID, _CERT_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39
_MAX_BITMAP_BITS: Final = 1 << 20


@dataclass(slots=True)
class RevokedCertificates:
    """What one authority revoked; an empty authority stands for any."""

    authority: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Serial numbers, both ends included."""
    key_ids: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RevocationList:
    """A whole list. `generated` is in seconds since 1970."""

    serial: int = 0
    generated: int = 0
    comment: str = ""
    keys: set[bytes] = field(default_factory=set)
    sha1: set[bytes] = field(default_factory=set)
    sha256: set[bytes] = field(default_factory=set)
    certificates: list[RevokedCertificates] = field(default_factory=list)

    def revokes(self, key: PublicKey) -> bool:
        """Whether a key, the key of a certificate, its authority or the certificate is listed."""
        plain = plain_public_key(key).blob
        if self._names(plain) or self._names(key.blob):
            return True
        if not find_algorithm(key.algorithm).is_certificate:
            return False
        certificate = parse_certificate(key.blob)
        if self._names(certificate.signature_key.blob):
            return True
        return any(_covers(each, certificate) for each in self.certificates)

    def _names(self, blob: bytes) -> bool:
        return (
            blob in self.keys
            or hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1
            or hashlib.sha256(blob).digest() in self.sha256
        )


def parse_krl(data: bytes) -> RevocationList:
    """Read a list; raises `WireError`, and `UnsupportedError` for what cannot be enforced."""
    if len(data) > MAX_KRL_BYTES:
        raise WireError(f"a list of {len(data)} bytes is over the limit of {MAX_KRL_BYTES}")
    reader = Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise WireError("not a key revocation list")
    version = reader.uint32()
    if version != _VERSION:
        raise UnsupportedError(f"unknown version of key revocation lists: {version}")
    revoked = RevocationList(reader.uint64(), reader.uint64())
    reader.uint64()
    reader.string()
    revoked.comment = reader.text()
    while reader.remaining:
        _read_section(reader.byte(), Reader(reader.string(MAX_KRL_BYTES)), revoked)
    return revoked


def encode_krl(keys: Iterable[bytes], *, serial: int, generated: int, comment: str = "") -> bytes:
    """A list of whole keys, given by their blobs; `ssh-keygen -Q` and `-Y verify -r` read it."""
    section = b"".join(encode_string(blob) for blob in sorted(keys))
    head = encode_uint32(_VERSION) + encode_uint64(serial) + encode_uint64(generated)
    body = encode_uint64(0) + encode_string(b"") + encode_string(comment.encode())
    tail = encode_byte(_KEYS) + encode_string(section) if section else b""
    return _MAGIC + head + body + tail


def _read_section(kind: int, reader: Reader, revoked: RevocationList) -> None:
    sets = {_KEYS: revoked.keys, _SHA1: revoked.sha1, _SHA256: revoked.sha256}
    if kind in sets:
        while reader.remaining:
            sets[kind].add(reader.string())
    elif kind == _CERTIFICATES:
        revoked.certificates.append(_read_certificates(reader))
    elif kind == _EXTENSION:
        _read_extension(reader)
    else:
        raise UnsupportedError(f"unknown section {kind} in a key revocation list")


def _read_extension(reader: Reader) -> None:
    name, critical = reader.text(), reader.boolean()
    reader.string()
    reader.finish()
    if critical:
        raise UnsupportedError(f"unknown critical extension {name[:64]!r} of a revocation list")


def _read_certificates(reader: Reader) -> RevokedCertificates:
    revoked = RevokedCertificates(reader.string())
    reader.string()
    while reader.remaining:
        kind, inner = reader.byte(), Reader(reader.string(MAX_KRL_BYTES))
        if kind == _SERIALS:
            while inner.remaining:
                serial = inner.uint64()
                revoked.ranges.append((serial, serial))
        elif kind == _RANGE:
            revoked.ranges.append((inner.uint64(), inner.uint64()))
            inner.finish()
        elif kind == _BITMAP:
            revoked.ranges.extend(_read_bitmap(inner))
        elif kind == _KEY_ID:
            while inner.remaining:
                revoked.key_ids.add(inner.text())
        elif kind == _CERT_EXTENSION:
            _read_extension(inner)
        else:
            raise UnsupportedError(f"unknown certificate section {kind:#x} in a revocation list")
        if len(revoked.ranges) > MAX_SERIALS:
            raise WireError("a revocation list names too many serial numbers")
    return revoked


def _read_bitmap(reader: Reader) -> list[tuple[int, int]]:
    offset, bits = reader.uint64(), reader.mpint()
    reader.finish()
    if bits < 0 or bits.bit_length() > _MAX_BITMAP_BITS:
        raise WireError("a bitmap of serial numbers is out of range")
    return [(offset + at, offset + at) for at in range(bits.bit_length()) if bits >> at & 1]


def _covers(revoked: RevokedCertificates, certificate: Certificate) -> bool:
    if revoked.authority not in (b"", certificate.signature_key.blob):
        return False
    if certificate.key_id in revoked.key_ids:
        return True
    # ssh-keygen does not look serial number 0 up: it means that none was given.
    return certificate.serial != 0 and any(
        low <= certificate.serial <= high for low, high in revoked.ranges
    )
