"""The fields of a private key, as openssh-key-v1 and the agent's ADD message share them.

Sources: RFC 9987 section 5.2 and, for certificates and security keys, OpenSSH's sshkey.c and
PROTOCOL.agent. Rule for editors: whatever is said twice must agree, or the key is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sshwire.algorithms import KeyAlgorithm, find_algorithm
from sshwire.cert import parse_certificate
from sshwire.errors import WireError
from sshwire.keyblob import (
    ED25519_KEY_BYTES,
    PublicFields,
    PublicKey,
    curve_class,
    encode_public_fields,
    load_public_fields,
    load_rsa,
    read_application,
    read_public_fields,
)
from sshwire.privkey.key import PrivateKey, SecurityKeyHandle
from sshwire.wire import Reader, encode_byte, encode_mpint, encode_string, encode_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from sshwire.privkey.key import LoadedPrivateKey


def parse_private_fields(reader: Reader, algorithm: str, comment: str = "") -> PrivateKey:
    """Take the fields that follow the algorithm's name; the comment that follows them is not taken."""
    row = find_algorithm(algorithm)
    certified = _read_certified(reader, row) if row.is_certificate else None
    if row.is_security_key:
        return _read_security_key(reader, row, certified, comment)
    secret, stated = _READERS[row.family](reader, row, certified)
    fields = encode_public_fields(row, secret.public_key())
    if fields != stated:
        raise WireError(f"{row.name}: public and private halves disagree")
    public = certified.key if certified else PublicKey(row.name, encode_text(row.name) + fields)
    return PrivateKey(public, comment, secret)


def parse_stated_public(algorithm: str, fields: bytes) -> bytes:
    """The blob of the public half that such fields begin with, whether or not the rest fits it."""
    row = find_algorithm(algorithm)
    reader = Reader(fields)
    if row.is_certificate:
        return _read_certified(reader, row).key.blob
    if row.family == "rsa":
        modulus, exponent = reader.mpint(), reader.mpint()
        reader = Reader(encode_mpint(exponent) + encode_mpint(modulus))
    return read_public_fields(reader, row).plain.blob


def encode_private_fields(key: PrivateKey) -> bytes:
    """The algorithm's name and all fields that follow it; holds the secret in clear."""
    row = find_algorithm(key.public.algorithm)
    head = encode_text(row.name)
    if row.is_certificate:
        head += encode_string(key.public.blob)
    if isinstance(key.secret, SecurityKeyHandle):
        return head + _encode_security_key(key, key.secret, row)
    return head + _WRITERS[row.family](key.secret, row)


class _Certified:
    """A certificate and the public fields inside it."""

    __slots__ = ("fields", "key")

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self.fields: PublicFields = load_public_fields(key)

    @property
    def encoded(self) -> bytes:
        """The public fields as a plain blob has them after its name."""
        return self.fields.plain.blob[len(encode_text(self.fields.plain.algorithm)) :]


def _read_certified(reader: Reader, row: KeyAlgorithm) -> _Certified:
    key = parse_certificate(reader.string()).key
    if key.algorithm != row.name:
        raise WireError(f"{row.name} key with a certificate of {key.algorithm}")
    return _Certified(key)


def _read_ed25519(
    reader: Reader, row: KeyAlgorithm, certified: _Certified | None
) -> tuple[Ed25519PrivateKey, bytes]:
    """`string public, string secret`, where the secret is a seed and the public key again."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = reader.string(ED25519_KEY_BYTES)
    secret = reader.string_view(2 * ED25519_KEY_BYTES)
    if len(secret) != 2 * ED25519_KEY_BYTES or bytes(secret[ED25519_KEY_BYTES:]) != public:
        raise WireError(f"{row.name}: public and private halves disagree")
    stated = encode_string(public)
    if certified and certified.encoded != stated:
        raise WireError(f"{row.name}: the certificate is of another key")
    return Ed25519PrivateKey.from_private_bytes(secret[:ED25519_KEY_BYTES]), stated


def _read_ecdsa(
    reader: Reader, row: KeyAlgorithm, certified: _Certified | None
) -> tuple[EllipticCurvePrivateKey, bytes]:
    """`string curve, string point, mpint d`; under a certificate d alone."""
    from cryptography.hazmat.primitives.asymmetric.ec import derive_private_key

    start = reader.offset
    if certified is None:
        read_public_fields(reader, row)
    stated = certified.encoded if certified else reader.since(start)
    scalar = reader.mpint()
    try:
        return derive_private_key(scalar, curve_class(row)), stated
    except ValueError as error:
        raise WireError(f"{row.name}: the private number is out of range") from error


def _read_rsa(
    reader: Reader, row: KeyAlgorithm, certified: _Certified | None
) -> tuple[RSAPrivateKey, bytes]:
    """`mpint n, e, d, iqmp, p, q`; under a certificate without n and e."""
    if certified is None:
        modulus, exponent = reader.mpint(), reader.mpint()
    else:
        loaded: Any = certified.fields.loaded
        numbers = loaded.public_numbers()
        modulus, exponent = numbers.n, numbers.e
    load_rsa(exponent, modulus, row.name)
    private, iqmp, p, q = (reader.mpint() for _ in range(4))
    key = _load_rsa_private(modulus, exponent, (private, iqmp, p, q), row)
    return key, encode_mpint(exponent) + encode_mpint(modulus)


def _load_rsa_private(
    modulus: int, exponent: int, secrets: tuple[int, int, int, int], row: KeyAlgorithm
) -> RSAPrivateKey:
    """Check the arithmetic, which is cheap; the library's own check tests for primes: 0.4 s at 4096."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers

    private, iqmp, p, q = secrets
    if (
        min(p, q) < 3
        or p * q != modulus
        or not 1 < private < modulus
        or (private * exponent - 1) % (p - 1)
        or (private * exponent - 1) % (q - 1)
        or not 0 < iqmp < p
        or iqmp * q % p != 1
    ):
        raise WireError(f"{row.name}: the private numbers do not fit the public ones")
    numbers = RSAPrivateNumbers(
        p,
        q,
        private,
        private % (p - 1),
        private % (q - 1),
        iqmp,
        RSAPublicNumbers(exponent, modulus),
    )
    try:
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise WireError(f"{row.name}: not a private key") from error


def _read_dsa(
    reader: Reader, row: KeyAlgorithm, certified: _Certified | None
) -> tuple[DSAPrivateKey, bytes]:
    """`mpint p, q, g, y, x`; under a certificate x alone."""
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateNumbers

    start = reader.offset
    loaded: Any = (certified.fields if certified else read_public_fields(reader, row)).loaded
    stated = certified.encoded if certified else reader.since(start)
    try:
        return DSAPrivateNumbers(reader.mpint(), loaded.public_numbers()).private_key(), stated
    except ValueError as error:
        raise WireError(f"{row.name}: public and private halves disagree") from error


def _read_security_key(
    reader: Reader, row: KeyAlgorithm, certified: _Certified | None, comment: str
) -> PrivateKey:
    """Public fields, `byte flags, string key_handle, string reserved`.

    Under a certificate sk-ssh-ed25519 repeats its point, sk-ecdsa does not; both the application.
    """
    if certified is None:
        public = read_public_fields(reader, row).plain
    else:
        public = certified.key
        stated = encode_public_fields(row, certified.fields.loaded)
        if row.curve is None and encode_string(reader.string()) != stated:
            raise WireError(f"{row.name}: the certificate is of another key")
        if read_application(reader) != certified.fields.application:
            raise WireError(f"{row.name}: the certificate names another application")
    handle = SecurityKeyHandle(reader.byte(), reader.string(), reader.string())
    return PrivateKey(public, comment, handle)


def _encode_security_key(key: PrivateKey, handle: SecurityKeyHandle, row: KeyAlgorithm) -> bytes:
    fields = load_public_fields(key.public)
    if fields.application is None:
        raise WireError(f"{row.name} key without an application")
    public = encode_public_fields(row, fields.loaded)
    repeated = b"" if row.is_certificate and row.curve else public
    return (
        repeated
        + encode_text(fields.application)
        + encode_byte(handle.flags)
        + encode_string(handle.key_handle)
        + encode_string(handle.reserved)
    )


# `secret` is Any below: the table of rows, not the type checker, ties a family to its key class.
def _write_ed25519(secret: Any, _row: KeyAlgorithm) -> bytes:
    public = secret.public_key().public_bytes_raw()
    return encode_string(public) + encode_string(secret.private_bytes_raw() + public)


def _write_ecdsa(secret: Any, row: KeyAlgorithm) -> bytes:
    public = b"" if row.is_certificate else encode_public_fields(row, secret.public_key())
    return public + encode_mpint(secret.private_numbers().private_value)


def _write_rsa(secret: Any, row: KeyAlgorithm) -> bytes:
    numbers = secret.private_numbers()
    public = numbers.public_numbers
    head = b"" if row.is_certificate else encode_mpint(public.n) + encode_mpint(public.e)
    return head + b"".join(map(encode_mpint, (numbers.d, numbers.iqmp, numbers.p, numbers.q)))


def _write_dsa(secret: Any, row: KeyAlgorithm) -> bytes:
    public = b"" if row.is_certificate else encode_public_fields(row, secret.public_key())
    return public + encode_mpint(secret.private_numbers().x)


_READERS: Mapping[
    str, Callable[[Reader, KeyAlgorithm, _Certified | None], tuple[LoadedPrivateKey, bytes]]
] = {"ed25519": _read_ed25519, "ecdsa": _read_ecdsa, "rsa": _read_rsa, "dsa": _read_dsa}

_WRITERS: Mapping[str, Callable[[Any, KeyAlgorithm], bytes]] = {
    "ed25519": _write_ed25519,
    "ecdsa": _write_ecdsa,
    "rsa": _write_rsa,
    "dsa": _write_dsa,
}
