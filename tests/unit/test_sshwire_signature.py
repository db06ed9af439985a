"""Signatures: made and verified by each kind of key, and refused for a named reason."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from sshwire.algorithms import find_algorithm
from sshwire.errors import UnsupportedError, VerificationError, WireError
from sshwire.keyblob import PublicKey, encode_public_fields
from sshwire.privkey import PrivateKey, SecurityKeyHandle
from sshwire.signature import (
    SK_USER_PRESENT,
    Signature,
    encode_ecdsa,
    encode_signature,
    parse_signature,
    verify_signature,
)
from sshwire.wire import encode_string, encode_text, encode_uint32

DATA = b"some data"
CURVES = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
NAMES = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
]


@cache
def private_key(name: str) -> PrivateKey:
    secret: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if name == "ssh-ed25519":
        secret = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    elif name == "ssh-rsa":
        secret = rsa.generate_private_key(65537, 1024)  # noqa: S505 - small keys sign quickly
    else:
        secret = ec.derive_private_key(12345, CURVES[int(name[-3:])])
    fields = encode_public_fields(find_algorithm(name), secret.public_key())
    return PrivateKey(PublicKey(name, encode_text(name) + fields), "", secret)


def reason(key: PublicKey, signature: bytes, data: bytes = DATA) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_signature(key, signature, data)
    return caught.value.reason


@pytest.mark.parametrize("name", NAMES)
def test_signature_holds_for_its_key_and_data_only(name: str) -> None:
    key = private_key(name)
    signature = key.sign(DATA)
    verify_signature(key.public_key, signature, DATA)
    assert reason(key.public, signature, DATA + b".") == "bad_signature"
    for other in NAMES:
        if other != name:
            assert reason(private_key(other).public, signature) == "algorithm_mismatch"


@pytest.mark.parametrize("name", NAMES)
def test_signature_is_taken_whole_and_refused_truncated_or_with_trailing_data(name: str) -> None:
    key = private_key(name)
    signature = key.sign(DATA)
    assert encode_signature(parse_signature(signature)) == signature
    for size in range(len(signature)):
        with pytest.raises(WireError):
            parse_signature(signature[:size])
    assert reason(key.public, signature[:-1]) == "malformed_signature"
    assert reason(key.public, signature + b"\0") == "malformed_signature"


@pytest.mark.parametrize("name", NAMES)
def test_signature_with_any_byte_changed_is_refused(name: str) -> None:
    key = private_key(name)
    signature = key.sign(DATA)
    for index in range(len(signature)):
        changed = bytearray(signature)
        changed[index] ^= 0x01
        assert reason(key.public, bytes(changed))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(0, "rsa-sha2-256"), (2, "rsa-sha2-256"), (4, "rsa-sha2-512"), (6, "rsa-sha2-256")],
)
def test_rsa_hash_follows_the_flags(flags: int, expected: str) -> None:
    key = private_key("ssh-rsa")
    signature = key.sign(DATA, flags)
    assert parse_signature(signature).format == expected
    verify_signature(key.public, signature, DATA)


@pytest.mark.parametrize("name", NAMES)
def test_rsa_flags_change_nothing_for_other_keys_and_unknown_bits_are_refused(name: str) -> None:
    key = private_key(name)
    if name != "ssh-rsa":
        for flags in (2, 4, 6):
            assert parse_signature(key.sign(DATA, flags)).format == name
    for flags in (1, 8, 3, 0x80000000, -1):
        with pytest.raises(WireError, match="flags"):
            key.sign(DATA, flags)


def test_rsa_signature_that_lost_its_leading_zeros_holds() -> None:
    key = private_key("ssh-rsa")
    for number in range(10_000):
        data = encode_uint32(number)
        signature = parse_signature(key.sign(data))
        if signature.blob[0] == 0:
            break
    short = encode_signature(Signature(signature.format, signature.blob.lstrip(b"\0")))
    verify_signature(key.public, short, data)
    long = encode_signature(Signature(signature.format, b"\0" + signature.blob))
    assert reason(key.public, long, data) == "bad_signature"


def test_rsa_sha1_is_refused_by_name() -> None:
    blob = encode_signature(Signature("ssh-rsa", bytes(128)))
    assert reason(private_key("ssh-rsa").public, blob) == "sha1_refused"


def test_unknown_format_is_refused_by_name() -> None:
    blob = encode_text("ssh-ed448") + encode_string(bytes(114))
    assert reason(private_key("ssh-ed25519").public, blob) == "unsupported_signature"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        encode_ecdsa(0, 0),
        encode_ecdsa(0, 1),
        encode_ecdsa(1, -1),
        encode_ecdsa(2**256, 1),
        encode_ecdsa(1, 1) + b"\0",
        encode_ecdsa(1, 1)[:-1],
        encode_string(b"\0\1") + encode_string(b"\1"),
    ],
)
def test_ecdsa_numbers_that_cannot_be_are_refused(raw: bytes) -> None:
    blob = encode_signature(Signature("ecdsa-sha2-nistp256", raw))
    assert reason(private_key("ecdsa-sha2-nistp256").public, blob) == "bad_signature"


@pytest.mark.parametrize("size", [0, 63, 65])
def test_ed25519_signature_of_another_length_is_refused(size: int) -> None:
    blob = encode_signature(Signature("ssh-ed25519", bytes(size)))
    assert reason(private_key("ssh-ed25519").public, blob) == "bad_signature"


def security_key(name: str) -> tuple[PublicKey, str]:
    """A security key in software: the plain key's secret under a security key's name."""
    plain = "ssh-ed25519" if "ed25519" in name else "ecdsa-sha2-nistp256"
    fields = private_key(plain).public.blob[len(encode_text(plain)) :]
    return PublicKey(name, encode_text(name) + fields + encode_text("ssh:")), plain


def sign_as_device(name: str, plain: str, *, application: str = "ssh:") -> Signature:
    """PROTOCOL.u2f: what a device signs for `DATA`, touched, counter 7."""
    signed = (
        hashlib.sha256(application.encode()).digest()
        + b"\x01"
        + encode_uint32(7)
        + hashlib.sha256(DATA).digest()
    )
    secret = private_key(plain).secret
    if isinstance(secret, Ed25519PrivateKey):
        raw = secret.sign(signed)
    else:
        assert isinstance(secret, ec.EllipticCurvePrivateKey)
        raw = encode_ecdsa(*decode_dss_signature(secret.sign(signed, ec.ECDSA(SHA256()))))
    return Signature(name, raw, 1, 7)


SK_NAMES = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]


@pytest.mark.parametrize("name", SK_NAMES)
def test_security_key_signature_covers_application_flags_and_counter(name: str) -> None:
    key, plain = security_key(name)
    signature = sign_as_device(name, plain)
    blob = encode_signature(signature)
    verify_signature(key, blob, DATA)
    parsed = parse_signature(blob)
    assert parsed == signature
    assert parsed.sk_flags == SK_USER_PRESENT
    assert reason(key, blob, DATA + b".") == "bad_signature"
    for flags, counter in ((0, 7), (5, 7), (1, 8)):
        changed = encode_signature(Signature(name, signature.blob, flags, counter))
        assert reason(key, changed) == "bad_signature"
    foreign = encode_signature(sign_as_device(name, plain, application="web"))
    assert reason(key, foreign) == "bad_signature"


@pytest.mark.parametrize("name", SK_NAMES)
def test_security_key_and_plain_key_do_not_stand_in_for_each_other(name: str) -> None:
    key, plain = security_key(name)
    assert reason(key, private_key(plain).sign(DATA)) == "algorithm_mismatch"
    blob = encode_signature(sign_as_device(name, plain))
    assert reason(private_key(plain).public, blob) == "algorithm_mismatch"


@pytest.mark.parametrize("name", SK_NAMES)
def test_security_key_signature_is_refused_truncated_or_incomplete(name: str) -> None:
    blob = encode_signature(sign_as_device(name, security_key(name)[1]))
    for size in range(len(blob)):
        with pytest.raises(WireError):
            parse_signature(blob[:size])
    with pytest.raises(WireError, match="trailing"):
        parse_signature(blob + b"\0")
    with pytest.raises(WireError, match="without flags"):
        encode_signature(Signature(name, bytes(64)))


def test_security_key_cannot_sign_without_its_device() -> None:
    key, _ = security_key(SK_NAMES[0])
    with pytest.raises(UnsupportedError, match="device"):
        PrivateKey(key, "", SecurityKeyHandle(1, b"handle")).sign(DATA)
