"""Public key blobs field by field: RFC 4253 section 6.6, 5656, 8709, PROTOCOL.u2f.

The layer below `cert`, `pubkey` and `signature`: they share `PublicKey` from here.
Rule for editors: the `cryptography` package is imported inside functions (a socket must answer before
it is loaded), and none of its exceptions may leave this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sshwire.algorithms import Curve, KeyAlgorithm, find_algorithm
from sshwire.errors import UnsupportedError, WireError
from sshwire.wire import Reader, encode_mpint, encode_string, encode_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    LoadedPublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey | DSAPublicKey

MAX_ALGORITHM_NAME_BYTES = 64
"""RFC 4251 section 6: algorithm names are at most 64 characters."""

MIN_RSA_BITS = 1024
"""OpenSSH's SSH_RSA_MINIMUM_MODULUS_SIZE."""

MAX_RSA_BITS = 16384
"""OpenSSL's OPENSSL_RSA_MAX_MODULUS_BITS, and the most that ssh-keygen makes."""

MAX_RSA_EXPONENT_BITS = 64
"""OpenSSL's OPENSSL_RSA_MAX_PUBEXP_BITS."""

DSA_BITS = 1024
DSA_GROUP_BITS = 160
"""FIPS 186-2, the edition that RFC 4253 section 6.6 names."""

MAX_APPLICATION_BYTES = 1024
"""Far above any FIDO relying party in use ("ssh:" and a label)."""

ED25519_KEY_BYTES = 32
"""RFC 8032 section 5.1.5."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key or certificate: its algorithm and its whole blob."""

    algorithm: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class PublicFields:
    """The key inside a blob, loaded; `application` is the relying party of a security key."""

    row: KeyAlgorithm
    loaded: LoadedPublicKey
    application: str | None
    plain: PublicKey


def read_algorithm(reader: Reader) -> KeyAlgorithm:
    """Take the algorithm name off the front of a blob."""
    try:
        name = reader.string(MAX_ALGORITHM_NAME_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError("algorithm name is not US-ASCII") from error
    return find_algorithm(name)


def read_public_fields(reader: Reader, row: KeyAlgorithm) -> PublicFields:
    """Take the fields that follow the name (and, in a certificate, the nonce).

    Every field has one encoding only, so the plain blob is the plain name and the fields as they came.
    """
    start = reader.offset
    loaded = _READERS[row.family](reader, row)
    application = read_application(reader) if row.is_security_key else None
    plain = PublicKey(row.plain_name, encode_text(row.plain_name) + reader.since(start))
    return PublicFields(row, loaded, application, plain)


def load_public_fields(key: PublicKey) -> PublicFields:
    """The key inside `key`, certificate or not; what follows in a certificate is not looked at."""
    reader = Reader(key.blob)
    row = read_algorithm(reader)
    if row.name != key.algorithm:
        raise WireError(f"a key called {key.algorithm[:64]!r} with a blob of {row.name}")
    if row.is_certificate:
        reader.string()
    fields = read_public_fields(reader, row)
    if not row.is_certificate:
        reader.finish()
    return fields


def plain_public_key(key: PublicKey) -> PublicKey:
    """The key that a certificate certifies; a plain key is its own."""
    return load_public_fields(key).plain if find_algorithm(key.algorithm).is_certificate else key


def _read_ed25519(reader: Reader, row: KeyAlgorithm) -> LoadedPublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    point = reader.string(ED25519_KEY_BYTES)
    if len(point) != ED25519_KEY_BYTES:
        raise WireError(f"{row.name} key of {len(point)} bytes, not {ED25519_KEY_BYTES}")
    try:
        return Ed25519PublicKey.from_public_bytes(point)
    except ValueError as error:
        raise WireError(f"not an {row.name} key") from error


def _curve(row: KeyAlgorithm) -> Curve:
    if row.curve is None:
        raise UnsupportedError(f"{row.name} has no curve")
    return row.curve


def curve_class(row: KeyAlgorithm) -> EllipticCurve:
    """The row's curve in the terms of `cryptography`."""
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: Mapping[str, EllipticCurve] = {
        "nistp256": ec.SECP256R1(),
        "nistp384": ec.SECP384R1(),
        "nistp521": ec.SECP521R1(),
    }
    return curves[_curve(row).name]


def _read_ecdsa(reader: Reader, row: KeyAlgorithm) -> LoadedPublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    curve = _curve(row)
    if reader.string(MAX_ALGORITHM_NAME_BYTES) != curve.name.encode():
        raise WireError(f"{row.name} key names another curve")
    point = reader.string(1 + 2 * curve.field_bytes)
    if len(point) != 1 + 2 * curve.field_bytes or point[0] != 4:
        raise WireError(f"{row.name} point is not in uncompressed form")
    try:
        return EllipticCurvePublicKey.from_encoded_point(curve_class(row), point)
    except ValueError as error:
        raise WireError(f"{row.name} point is not on its curve") from error


def _read_rsa(reader: Reader, row: KeyAlgorithm) -> LoadedPublicKey:
    exponent = reader.mpint()
    modulus = reader.mpint()
    return load_rsa(exponent, modulus, row.name)


def load_rsa(exponent: int, modulus: int, name: str = "ssh-rsa") -> RSAPublicKey:
    """An RSA key from its numbers, which are checked first."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    if modulus < 0 or not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise WireError(
            f"{name} modulus of {modulus.bit_length()} bits: not {MIN_RSA_BITS} to {MAX_RSA_BITS}"
        )
    if modulus % 2 == 0:
        raise WireError(f"{name} modulus is even")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise WireError(
            f"{name} exponent is not an odd number of 2 to {MAX_RSA_EXPONENT_BITS} bits"
        )
    try:
        return RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise WireError(f"not an {name} key") from error


def _read_dsa(reader: Reader, row: KeyAlgorithm) -> LoadedPublicKey:
    """RFC 4253 section 6.6: `mpint p, q, g, y`, of the one size that ssh-dss.c of OpenSSH takes."""
    from cryptography.hazmat.primitives.asymmetric import dsa

    p, q, g, y = (reader.mpint() for _ in range(4))
    if p.bit_length() != DSA_BITS or q.bit_length() != DSA_GROUP_BITS or not 1 < y < p:
        raise WireError(f"{row.name} key that is not of {DSA_BITS} and {DSA_GROUP_BITS} bits")
    try:
        return dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
    except ValueError as error:
        raise WireError(f"not an {row.name} key") from error


def read_application(reader: Reader) -> str:
    """Take the relying party of a security key, most often `ssh:`."""
    application = reader.text(MAX_APPLICATION_BYTES)
    if "\x00" in application:
        raise WireError("security key application holds a NUL")
    return application


_READERS: Mapping[str, Callable[[Reader, KeyAlgorithm], LoadedPublicKey]] = {
    "ed25519": _read_ed25519,
    "ecdsa": _read_ecdsa,
    "rsa": _read_rsa,
    "dsa": _read_dsa,
}


def encode_public_fields(row: KeyAlgorithm, loaded: LoadedPublicKey) -> bytes:
    """The fields after the name of a plain blob, without a security key's application."""
    return _WRITERS[row.family](loaded, row)


# `loaded` is Any below: the table of rows, not the type checker, ties a family to its key class.
def _write_ed25519(loaded: Any, _row: KeyAlgorithm) -> bytes:
    return encode_string(loaded.public_bytes_raw())


def _write_ecdsa(loaded: Any, row: KeyAlgorithm) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point = loaded.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return encode_text(_curve(row).name) + encode_string(point)


def _write_rsa(loaded: Any, _row: KeyAlgorithm) -> bytes:
    numbers = loaded.public_numbers()
    return encode_mpint(numbers.e) + encode_mpint(numbers.n)


def _write_dsa(loaded: Any, _row: KeyAlgorithm) -> bytes:
    numbers = loaded.public_numbers()
    group = numbers.parameter_numbers
    return b"".join(map(encode_mpint, (group.p, group.q, group.g, numbers.y)))


_WRITERS: Mapping[str, Callable[[Any, KeyAlgorithm], bytes]] = {
    "ed25519": _write_ed25519,
    "ecdsa": _write_ecdsa,
    "rsa": _write_rsa,
    "dsa": _write_dsa,
}
