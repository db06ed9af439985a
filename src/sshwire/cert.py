"""OpenSSH certificates: PROTOCOL.certkeys, version 01.

Rule for editors: parsing checks the form only. Who signed it, when it is valid and which options bind
are decisions; `verify_certificate_signature` says no more than that the named CA key signed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, load_public_fields, read_algorithm, read_public_fields
from sshwire.signature import parse_signature, verify_signature
from sshwire.wire import Reader

MAX_PRINCIPALS = 256
"""OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""

MAX_OPTIONS = 256
"""Critical options or extensions in one certificate; ssh-keygen knows fewer than ten."""


class CertificateType(IntEnum):
    """Whom the certificate names."""

    USER = 1
    HOST = 2


@dataclass(frozen=True, slots=True)
class Certificate:
    """Every field of a certificate; times are seconds since 1970, `valid_before` exclusive.

    `critical_options` and `extensions` are (name, data) pairs with the data as it came: for the
    options of OpenSSH it is empty or holds one string.
    """

    key: PublicKey
    nonce: bytes
    public_key: PublicKey
    serial: int
    type: CertificateType
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: tuple[tuple[str, bytes], ...]
    extensions: tuple[tuple[str, bytes], ...]
    signature_key: PublicKey
    signature: bytes
    signed_bytes: bytes


def parse_certificate(blob: bytes) -> Certificate:
    """A certificate from its blob; its signature is taken apart but not verified."""
    reader = Reader(blob)
    row = read_algorithm(reader)
    if not row.is_certificate:
        raise WireError(f"{row.name} is not a certificate")
    nonce = reader.string()
    inner = read_public_fields(reader, row)
    serial, cert_type = reader.uint64(), _read_type(reader)
    key_id, principals = _read_name(reader), _read_principals(reader)
    valid_after, valid_before = reader.uint64(), reader.uint64()
    options, extensions = _read_options(reader), _read_options(reader)
    reader.string()  # reserved: ignored, as PROTOCOL.certkeys asks
    signature_key = _read_signature_key(reader)
    signed_bytes = reader.since(0)
    signature = reader.string()
    reader.finish()
    parse_signature(signature)
    return Certificate(
        key=PublicKey(row.name, blob),
        nonce=nonce,
        public_key=inner.plain,
        serial=serial,
        type=cert_type,
        key_id=key_id,
        principals=principals,
        valid_after=valid_after,
        valid_before=valid_before,
        critical_options=options,
        extensions=extensions,
        signature_key=signature_key,
        signature=signature,
        signed_bytes=signed_bytes,
    )


def verify_certificate_signature(certificate: Certificate) -> None:
    """Raise `VerificationError` unless `signature_key` signed this certificate.

    It does not say that the CA is trusted, nor that the certificate is valid now.
    """
    verify_signature(certificate.signature_key, certificate.signature, certificate.signed_bytes)


def _read_type(reader: Reader) -> CertificateType:
    number = reader.uint32()
    try:
        return CertificateType(number)
    except ValueError as error:
        raise WireError(f"unknown certificate type: {number}") from error


def _read_name(reader: Reader) -> str:
    """Text without NUL, which OpenSSH refuses too: what follows one would be lost on C programs."""
    name = reader.text()
    if "\x00" in name:
        raise WireError("certificate text holds a NUL")
    return name


def _read_principals(reader: Reader) -> tuple[str, ...]:
    nested = reader.nested()
    names: list[str] = []
    while nested.remaining:
        if len(names) == MAX_PRINCIPALS:
            raise WireError(f"more than {MAX_PRINCIPALS} principals")
        names.append(_read_name(nested))
    return tuple(names)


def _read_options(reader: Reader) -> tuple[tuple[str, bytes], ...]:
    """Pairs in the order of their names, each name once.

    PROTOCOL.certkeys asks for it; OpenSSH does not check, x/crypto/ssh does, and so do we: with a name
    said twice, two readers could obey different ones.
    """
    nested = reader.nested()
    pairs: list[tuple[str, bytes]] = []
    while nested.remaining:
        if len(pairs) == MAX_OPTIONS:
            raise WireError(f"more than {MAX_OPTIONS} options")
        name, data = _read_name(nested), nested.string()
        if pairs and name.encode() <= pairs[-1][0].encode():
            raise WireError(f"certificate option out of order or repeated: {name[:64]!r}")
        pairs.append((name, data))
    return tuple(pairs)


def _read_signature_key(reader: Reader) -> PublicKey:
    blob = reader.string()
    row = read_algorithm(Reader(blob))
    if row.is_certificate:
        raise WireError("a certificate cannot sign a certificate")
    key = PublicKey(row.name, blob)
    load_public_fields(key)
    return key
