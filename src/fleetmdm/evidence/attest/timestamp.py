"""RFC 3161 time-stamp tokens: that a signature existed at a time, by somebody else's clock.

The token stands beside an SSHSIG file and its imprint is over that file's bytes, so what is proven
is when the signature was there, and through it the manifest. CMS (RFC 5652) is read as far as
tokens need it. Pure but for `cryptography`.
Rule for editors: every byte of a token is checked or refused; what is not signed must not be there.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetmdm.evidence.attest.der import (
    GENERALIZED_TIME,
    INTEGER,
    OCTETS,
    SEQUENCE,
    SET,
    DerError,
    Node,
    parse_der,
)

if TYPE_CHECKING:
    # Imported for its name alone: most packs have no token.
    from cryptography.x509 import Certificate

MAX_TOKEN_BYTES = 256 * 1024

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATES = {
    "1.2.840.113549.1.9.16.2.12": "sha1",
    "1.2.840.113549.1.9.16.2.47": "sha256",
}
"""Attributes that bind the signer's certificate, with the hash that each takes unless told."""

_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_SIGNATURES = {
    "1.2.840.113549.1.1.1": ("rsa", ""),
    "1.2.840.113549.1.1.11": ("rsa", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa", "sha512"),
    "1.2.840.10045.4.3.2": ("ecdsa", "sha256"),
    "1.2.840.10045.4.3.3": ("ecdsa", "sha384"),
    "1.2.840.10045.4.3.4": ("ecdsa", "sha512"),
}


class TokenError(ValueError):
    """A token that does not hold; `reason` is malformed, mismatch, invalid or untrusted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """What a token says, and the certificate that said it. Its signature holds."""

    time: datetime
    authority: str
    chain: tuple[Certificate, ...]
    """The certificates that came with it, the signer's first."""


@dataclass(frozen=True, slots=True)
class _Parts:
    info: bytes
    certificates: tuple[bytes, ...]
    signer: Node


def token_of(data: bytes) -> bytes:
    """The token in a file: a token as it is, or the one inside a TSA's response."""
    try:
        outer = parse_der(data).expect(SEQUENCE).children()
        if len(outer) == 2 and outer[0].tag == SEQUENCE:
            status = outer[0].children()[0].expect(INTEGER).body
            if status not in (b"\0", b"\1"):
                raise TokenError("invalid", "the time-stamping authority refused")
            return outer[1].whole
    except (DerError, IndexError) as error:
        raise TokenError("malformed", f"not a time-stamp token or response: {error}") from error
    return data


def read_token(data: bytes, *, stamped: bytes) -> TimeStamp:
    """Check a token's form and signature and that it is over `stamped`; trust is not asked."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    # What `cryptography` says of certificates that a stranger wrote; these are no ValueErrors.
    foreign = (
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )
    try:
        parts = _parse_signed_data(data)
        time = _parse_info(parts.info, stamped)
        chain = _load_chain(parts)
        _verify_signer(parts, chain[0])
    except (IndexError, KeyError, ValueError, *foreign) as error:
        if isinstance(error, TokenError):
            raise
        raise TokenError("malformed", f"not a time-stamp token: {error}") from error
    return TimeStamp(time, chain[0].subject.rfc4514_string(), chain)


def _parse_signed_data(data: bytes) -> _Parts:
    kind, wrapped = parse_der(data).expect(SEQUENCE).children()
    if kind.oid() != _SIGNED_DATA:
        raise DerError("not signed data")
    (signed,) = wrapped.expect(0xA0).children()
    version, algorithms, content, *others, signers = signed.expect(SEQUENCE).children()
    if version.expect(INTEGER).body != b"\3" or [node.tag for node in others] != [0xA0]:
        raise DerError("a token has version 3, certificates and no revocation lists")
    content_kind, content_body = content.expect(SEQUENCE).children()
    if content_kind.oid() != _TST_INFO:
        raise DerError("what was signed is not a time")
    (info,) = content_body.expect(0xA0).children()
    (signer,) = signers.expect(SET).children()
    signer.expect(SEQUENCE)
    if [_algorithm(node) for node in algorithms.expect(SET).children()] != [
        _algorithm(signer.children()[2])
    ]:
        raise DerError("the token names other hashes than its signer")
    certificates = tuple(node.expect(SEQUENCE).whole for node in others[0].children())
    return _Parts(info.expect(OCTETS).body, certificates, signer)


def _parse_info(info: bytes, stamped: bytes) -> datetime:
    version, _policy, imprint, _serial, time, *_ = parse_der(info).expect(SEQUENCE).children()
    if version.expect(INTEGER).body != b"\1":
        raise DerError("the token's version is not 1")
    algorithm, digest = imprint.expect(SEQUENCE).children()
    name = _HASHES.get(_algorithm(algorithm))
    if name is None:
        raise TokenError("malformed", "the token's imprint uses a hash that is not known here")
    if hashlib.new(name, stamped).digest() != digest.expect(OCTETS).body:
        raise TokenError("mismatch", "the token is over something else")
    return _parse_time(time.expect(GENERALIZED_TIME).body)


def _parse_time(body: bytes) -> datetime:
    text = body.decode("ascii")
    form = "%Y%m%d%H%M%S.%fZ" if "." in text else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _load_chain(parts: _Parts) -> tuple[Certificate, ...]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer, serial = parts.signer.children()[1].expect(SEQUENCE).children()
    with warnings.catch_warnings():
        # A certificate that `cryptography` only warns of is one that RFC 5280 forbids.
        warnings.simplefilter("error")
        try:
            loaded = [x509.load_der_x509_certificate(each) for each in parts.certificates]
        except Warning as error:
            raise DerError(f"a certificate is not as it must be: {error}") from error
    wanted = [
        each
        for each in loaded
        if each.issuer.public_bytes() == issuer.whole
        and each.serial_number == int.from_bytes(serial.expect(INTEGER).body, "big", signed=True)
    ]
    if len(wanted) != 1:
        raise DerError("the token does not carry its signer's certificate once")
    try:
        usage = wanted[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise TokenError("invalid", "the signer's certificate is not for time-stamping") from error
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TokenError("invalid", "the signer's certificate is not for time-stamping alone")
    der = wanted[0].public_bytes(Encoding.DER)
    _require_bound(_attributes(parts.signer), der)
    return (wanted[0], *(each for each in loaded if each is not wanted[0]))


def _attributes(signer: Node) -> Mapping[str, Node]:
    """The signed attributes by type; each has one value."""
    attributes: dict[str, Node] = {}
    for attribute in signer.children()[3].expect(0xA0).children():
        kind, values = attribute.expect(SEQUENCE).children()
        (value,) = values.expect(SET).children()
        attributes[kind.oid()] = value
    return attributes


def _require_bound(attributes: Mapping[str, Node], certificate: bytes) -> None:
    """RFC 5816: the signed attributes name the signer's certificate by its hash."""
    for kind, name in _SIGNING_CERTIFICATES.items():
        if kind not in attributes:
            continue
        first = attributes[kind].expect(SEQUENCE).children()[0].children()[0].children()
        if first[0].tag == SEQUENCE:
            name = _HASHES[_algorithm(first.pop(0))]  # noqa: PLW2901 - told, so not the default
        digest = hashlib.new(name, certificate, usedforsecurity=False).digest()
        if digest == first[0].expect(OCTETS).body:
            return
    raise TokenError("invalid", "the token is not bound to its signer's certificate")


def _verify_signer(parts: _Parts, certificate: Certificate) -> None:
    children = parts.signer.expect(SEQUENCE).children()
    if len(children) != 6 or children[0].expect(INTEGER).body != b"\1":
        raise DerError("the signer has unsigned attributes, or an unexpected form")
    name = _HASHES[_algorithm(children[2])]
    attributes = _attributes(parts.signer)
    if attributes[_CONTENT_TYPE].oid() != _TST_INFO:
        raise TokenError("invalid", "the signed attributes speak of something else")
    digest = hashlib.new(name, parts.info).digest()
    if attributes[_MESSAGE_DIGEST].expect(OCTETS).body != digest:
        raise TokenError("invalid", "the token was altered")
    family, bound = _SIGNATURES[_algorithm(children[4])]
    if bound not in ("", name):
        raise DerError("the signature names another hash")
    signed = bytes([SET]) + children[3].whole[1:]
    _verify(certificate.public_key(), family, name, children[5].expect(OCTETS).body, signed)


def _verify(key: Any, family: str, hash_name: str, signature: bytes, signed: bytes) -> None:
    """`key` is what a certificate holds; one of another family has no such `verify`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    digest = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
    try:
        if family == "rsa":
            key.verify(signature, signed, padding.PKCS1v15(), digest[hash_name])
        else:
            key.verify(signature, signed, ec.ECDSA(digest[hash_name]))
    except (InvalidSignature, TypeError, AttributeError) as error:
        raise TokenError("invalid", "the token's signature does not hold") from error


def _algorithm(node: Node) -> str:
    """An AlgorithmIdentifier's name; its parameters are absent or NULL."""
    name, *parameters = node.expect(SEQUENCE).children()
    if [each.whole for each in parameters] not in ([], [b"\5\0"]):
        raise DerError("an algorithm has parameters")
    return name.oid()
