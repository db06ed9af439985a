"""A private key in memory, and how it signs: RFC 4253, 5656, 8332, 8709; flags of RFC 9987.

Rule for editors: `repr`, exceptions and equality never touch the secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sshwire.agent.numbers import SignFlag
from sshwire.algorithms import (
    SHA1_SIGNATURE_FORMAT,
    KeyAlgorithm,
    find_algorithm,
    find_signature_format,
)
from sshwire.errors import UnsupportedError, WireError
from sshwire.keyblob import PublicKey, plain_public_key
from sshwire.signature import Signature, encode_ecdsa, encode_signature, hash_algorithm

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    LoadedPrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey | DSAPrivateKey

_KNOWN_FLAGS = int(SignFlag.RSA_SHA2_256 | SignFlag.RSA_SHA2_512)


@dataclass(frozen=True, slots=True)
class SecurityKeyHandle:
    """What a computer holds of a FIDO key: the key itself never leaves its device."""

    flags: int
    key_handle: bytes = field(repr=False)
    reserved: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class PrivateKey:
    """A private key with its public half, which may be a certificate; compared by identity."""

    public: PublicKey
    comment: str
    secret: LoadedPrivateKey | SecurityKeyHandle = field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """The public half, under the name that signers share."""
        return self.public

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature of `data`.

        RSA signs with SHA-512 for that flag alone, else with SHA-256, which OpenSSH too prefers when
        both are set; other keys ignore these flags. Any other bit is a `WireError`; a security key,
        which must sign on its device, an `UnsupportedError`.
        """
        if flags & ~_KNOWN_FLAGS:
            raise WireError(f"unknown sign flags: {flags:#x}")
        if isinstance(self.secret, SecurityKeyHandle):
            raise UnsupportedError(f"{self.public.algorithm} signs on its device, not here")
        row = find_algorithm(self.public.algorithm)
        if row.family == "dsa":
            raise UnsupportedError(f"{row.name} signs over SHA-1 only")
        return encode_signature(_SIGNERS[row.family](self.secret, row, data, flags))

    def sign_over_sha1(self, data: bytes) -> bytes:
        """The encoded signature of an RSA or DSA key that only old servers take."""
        row = find_algorithm(self.public.algorithm)
        if isinstance(self.secret, SecurityKeyHandle) or row.family not in _SHA1_SIGNERS:
            raise UnsupportedError(f"{row.name} does not sign over SHA-1")
        return encode_signature(_SHA1_SIGNERS[row.family](self.secret, data))

    def with_certificate(self, certificate: PublicKey) -> PrivateKey:
        """The same key offered under a certificate of it."""
        if plain_public_key(certificate) != plain_public_key(self.public):
            raise WireError("the certificate is not of this key")
        return replace(self, public=certificate)


# `secret` is Any below: the table of rows, not the type checker, ties a family to its key class.
def _sign_ed25519(secret: Any, row: KeyAlgorithm, data: bytes, _flags: int) -> Signature:
    return Signature(row.signature_formats[0], secret.sign(data))


def _sign_ecdsa(secret: Any, row: KeyAlgorithm, data: bytes, _flags: int) -> Signature:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    name = row.signature_formats[0]
    der = secret.sign(data, ECDSA(hash_algorithm(find_signature_format(name))))
    return Signature(name, encode_ecdsa(*decode_dss_signature(der)))


def _sign_rsa(secret: Any, _row: KeyAlgorithm, data: bytes, flags: int) -> Signature:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    name = "rsa-sha2-512" if flags == SignFlag.RSA_SHA2_512 else "rsa-sha2-256"
    digest = hash_algorithm(find_signature_format(name))
    return Signature(name, secret.sign(data, PKCS1v15(), digest))


def _sign_rsa_sha1(secret: Any, data: bytes) -> Signature:
    """RFC 4253 section 6.6."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    signature = secret.sign(data, PKCS1v15(), SHA1())  # noqa: S303 - what the format means
    return Signature(SHA1_SIGNATURE_FORMAT, signature)


def _sign_dsa(secret: Any, data: bytes) -> Signature:
    """RFC 4253 section 6.6: two numbers of 160 bits, without lengths or padding."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA1

    r, s = decode_dss_signature(secret.sign(data, SHA1()))  # noqa: S303 - DSA of SSH knows no other hash
    return Signature("ssh-dss", r.to_bytes(20, "big") + s.to_bytes(20, "big"))


_SIGNERS: Mapping[str, Callable[[Any, KeyAlgorithm, bytes, int], Signature]] = {
    "ed25519": _sign_ed25519,
    "ecdsa": _sign_ecdsa,
    "rsa": _sign_rsa,
}

_SHA1_SIGNERS: Mapping[str, Callable[[Any, bytes], Signature]] = {
    "rsa": _sign_rsa_sha1,
    "dsa": _sign_dsa,
}
