"""The algorithms we know, one row each: what differs between keys is data here, not a branch.

Names are those of RFC 4253, 5656, 8332 and 8709 and of OpenSSH's PROTOCOL.certkeys and PROTOCOL.u2f.
Rule for editors: a new key type is a row (and a reader if its family is new); nothing else in this
package compares an algorithm's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from sshwire.errors import UnsupportedError

Family = Literal["ed25519", "ecdsa", "rsa", "dsa"]
HashName = Literal["sha1", "sha256", "sha384", "sha512"]

SHA1_SIGNATURE_FORMAT = "ssh-rsa"
"""RSA over SHA-1: known by name so that it can be refused by name."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A NIST curve: its name on the wire, the bytes of a coordinate, the hash RFC 5656 pairs it to."""

    name: str
    field_bytes: int
    hash_name: HashName


@dataclass(frozen=True, slots=True)
class SignatureFormat:
    """A name that a signature can carry; `hash_name` is empty where the scheme hashes by itself."""

    name: str
    hash_name: HashName | Literal[""]
    is_security_key: bool = False


@dataclass(frozen=True, slots=True)
class KeyAlgorithm:
    """One public key algorithm; the first of `signature_formats` is the one we sign with."""

    name: str
    family: Family
    signature_formats: tuple[str, ...]
    plain_name: str
    curve: Curve | None = None
    is_security_key: bool = False
    is_certificate: bool = False


_P256 = Curve("nistp256", 32, "sha256")
_P384 = Curve("nistp384", 48, "sha384")
_P521 = Curve("nistp521", 66, "sha512")

_SIGNATURE_ROWS = (
    SignatureFormat("ssh-ed25519", ""),
    SignatureFormat("ecdsa-sha2-nistp256", "sha256"),
    SignatureFormat("ecdsa-sha2-nistp384", "sha384"),
    SignatureFormat("ecdsa-sha2-nistp521", "sha512"),
    SignatureFormat("rsa-sha2-256", "sha256"),
    SignatureFormat("rsa-sha2-512", "sha512"),
    SignatureFormat(SHA1_SIGNATURE_FORMAT, "sha1"),
    SignatureFormat("ssh-dss", "sha1"),
    SignatureFormat("sk-ssh-ed25519@openssh.com", "", is_security_key=True),
    SignatureFormat("sk-ecdsa-sha2-nistp256@openssh.com", "sha256", is_security_key=True),
)

SIGNATURE_FORMATS: Mapping[str, SignatureFormat] = MappingProxyType(
    {row.name: row for row in _SIGNATURE_ROWS}
)


def _plain(
    name: str,
    family: Family,
    *,
    curve: Curve | None = None,
    formats: tuple[str, ...] = (),
    is_security_key: bool = False,
) -> KeyAlgorithm:
    return KeyAlgorithm(name, family, formats or (name,), name, curve, is_security_key)


_RSA_FORMATS = ("rsa-sha2-256", "rsa-sha2-512", SHA1_SIGNATURE_FORMAT)

_PLAIN_ROWS = (
    _plain("ssh-ed25519", "ed25519"),
    _plain("ecdsa-sha2-nistp256", "ecdsa", curve=_P256),
    _plain("ecdsa-sha2-nistp384", "ecdsa", curve=_P384),
    _plain("ecdsa-sha2-nistp521", "ecdsa", curve=_P521),
    _plain("ssh-rsa", "rsa", formats=_RSA_FORMATS),
    # Dead, and made for OpenSSH up to 9.9 only; its signatures never verify here.
    _plain("ssh-dss", "dsa"),
    _plain("sk-ssh-ed25519@openssh.com", "ed25519", is_security_key=True),
    _plain("sk-ecdsa-sha2-nistp256@openssh.com", "ecdsa", curve=_P256, is_security_key=True),
)


def _certificate(row: KeyAlgorithm) -> KeyAlgorithm:
    """PROTOCOL.certkeys: the plain name, less its domain, with `-cert-v01@openssh.com`."""
    base = row.name.removesuffix("@openssh.com")
    return replace(row, name=f"{base}-cert-v01@openssh.com", is_certificate=True)


KEY_ALGORITHMS: Mapping[str, KeyAlgorithm] = MappingProxyType(
    {row.name: row for plain in _PLAIN_ROWS for row in (plain, _certificate(plain))}
)


def find_algorithm(name: str) -> KeyAlgorithm:
    """The row of a key algorithm, or `UnsupportedError`."""
    row = KEY_ALGORITHMS.get(name)
    if row is None:
        raise UnsupportedError(f"unknown key algorithm: {name[:64]!r}")
    return row


def find_signature_format(name: str) -> SignatureFormat:
    """The row of a signature format, or `UnsupportedError`."""
    row = SIGNATURE_FORMATS.get(name)
    if row is None:
        raise UnsupportedError(f"unknown signature format: {name[:64]!r}")
    return row
