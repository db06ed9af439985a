"""The quickest maintained signer of each key type, behind the one port of every key that signs.

Which is quickest was measured (benchmarks/bench_signers.py, docs/decisions/0003-signers.md):
libsodium for Ed25519, AWS-LC for ECDSA where it is installed, OpenSSL for all else. Rule for
editors: whatever signs, the bytes are those that `PrivateKey.sign` could give, and a secret that is
copied out of OpenSSL is overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

from secretivex.identity import SigningKey
from sshwire.agent.numbers import SignFlag
from sshwire.algorithms import find_algorithm, find_signature_format
from sshwire.errors import WireError
from sshwire.privkey import PrivateKey
from sshwire.signature import hash_algorithm
from sshwire.wire import encode_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_KNOWN_FLAGS = int(SignFlag.RSA_SHA2_256 | SignFlag.RSA_SHA2_512)

_AWS_LC_FORMATS = frozenset({"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"})
"""What awscrt reads keys of."""

_pack_uint32 = struct.Struct(">I").pack

_ZEROS = bytes(3)
"""What comes before the byte of a length that is below 256, where RFC 4251 has four."""

_SIGNATURE_BYTES = 64
"""RFC 8032: of Ed25519."""


def quickest(key: PrivateKey) -> SigningKey:
    """What signs with this key; the key itself where nothing quicker is installed."""
    row = find_algorithm(key.public.algorithm)
    secret: Any = key.secret
    if row.is_security_key:
        return key
    if row.family == "ecdsa":
        return _ecdsa_key(secret, row.signature_formats[0])
    if row.family == "ed25519":
        try:
            return SodiumKey(secret.private_bytes_raw(), row.signature_formats[0])
        except ImportError:
            return key
    return key


def _ecdsa_key(secret: EllipticCurvePrivateKey, signature_format: str) -> SigningKey:
    # Elsewhere than on Linux the same binding is one to the system's own library.
    if sys.platform == "linux" and signature_format in _AWS_LC_FORMATS:
        with contextlib.suppress(ImportError, ValueError, RuntimeError):
            return AwsLcKey(secret, signature_format)
    return EcdsaKey(secret, signature_format)


def _check(flags: int) -> None:
    if flags & ~_KNOWN_FLAGS:
        raise WireError(f"unknown sign flags: {flags:#x}")


class SodiumKey:
    """An Ed25519 key that libsodium signs with; its memory is overwritten when it goes."""

    __slots__ = ("_head", "_pointer", "_secret", "_sign")

    def __init__(self, seed: bytes, signature_format: str) -> None:
        """Raises ImportError where PyNaCl is not installed."""
        # Not cffi's own FFI, which brings a parser of C with it: 40 ms at every start of a worker.
        from _cffi_backend import FFI
        from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

        self._secret = bytearray(crypto_sign_seed_keypair(seed)[1])
        # The pointer is what crypto_sign hands on; it takes bytes only because they cannot change.
        self._pointer: Any = FFI().from_buffer("unsigned char[]", self._secret)
        self._sign = crypto_sign
        self._head = encode_text(signature_format) + _SIGNATURE_BYTES.to_bytes(4, "big")

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        if flags:
            _check(flags)
        return self._head + self._sign(data, self._pointer)[:_SIGNATURE_BYTES]

    def __del__(self) -> None:
        secret: bytearray = getattr(self, "_secret", bytearray())
        for index in range(len(secret)):
            secret[index] = 0


class EcdsaKey:
    """An ECDSA key that OpenSSL signs with; the two numbers go from DER to SSH as they are."""

    __slots__ = ("_algorithm", "_digest", "_head", "_secret")

    def __init__(self, secret: EllipticCurvePrivateKey, signature_format: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        row = find_signature_format(signature_format)
        self._secret = secret
        # hashlib finds the hash once; OpenSSL's signing call looks for it each time.
        self._digest = getattr(hashlib, row.hash_name)
        self._algorithm = ECDSA(Prehashed(hash_algorithm(row)))
        self._head = encode_text(signature_format)

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        if flags:
            _check(flags)
        numbers = numbers_of(self._secret.sign(self._digest(data).digest(), self._algorithm))
        return self._head + _pack_uint32(len(numbers)) + numbers


class AwsLcKey:
    """The same signed by AWS-LC, which overwrites what it frees, the key with it."""

    __slots__ = ("_digest", "_head", "_sign")

    is_quick: Final = True
    """Threads would gain nothing: it is done in a tenth of a millisecond and keeps the interpreter."""

    def __init__(self, secret: EllipticCurvePrivateKey, signature_format: str) -> None:
        """Raises ImportError where awscrt is not installed, others for a key that it refuses."""
        from awscrt.crypto import EC
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        # SEC 1: the OpenSSL object goes after this, so one library holds the key and not two.
        form = Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        der = secret.private_bytes(*form)
        try:
            self._sign = EC.new_key_from_der_data(der).sign
        finally:
            _overwrite(der)
        self._digest = getattr(hashlib, find_signature_format(signature_format).hash_name)
        self._head = encode_text(signature_format)

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        if flags:
            _check(flags)
        numbers = numbers_of(self._sign(self._digest(data).digest()))
        return self._head + _pack_uint32(len(numbers)) + numbers


def _overwrite(secret: bytes) -> None:
    """Zero bytes that a library made, in place: nobody else may have seen them."""
    from _cffi_backend import FFI

    FFI().memmove(FFI().from_buffer(secret), bytes(len(secret)), len(secret))


def numbers_of(der: bytes) -> bytes:
    """Both numbers of a DER signature as RFC 5656 section 3.1.2 wants them.

    X.690 and RFC 4251 write a number alike: in two's complement, in the shortest form. The length
    before it is one byte here and four there, for no curve has numbers of more than 127 bytes.
    """
    first = 3 if der[1] < 0x80 else 4
    end = first + 1 + der[first]
    return _ZEROS + der[first:end] + _ZEROS + der[end + 1 :]
