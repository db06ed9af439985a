"""Certificates: every field, every truncation, and what a CA could sign but should not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sshwire.cert import (
    MAX_OPTIONS,
    MAX_PRINCIPALS,
    Certificate,
    CertificateType,
    parse_certificate,
    verify_certificate_signature,
)
from sshwire.errors import VerificationError, WireError
from sshwire.pubkey import PublicKey, fingerprint, parse_public_key, plain_public_key
from sshwire.signature import Signature, encode_signature, verify_signature
from sshwire.wire import encode_string, encode_text, encode_uint32, encode_uint64

NAME = "ssh-ed25519-cert-v01@openssh.com"


@cache
def secret(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def plain_blob(number: int) -> bytes:
    return encode_text("ssh-ed25519") + encode_string(
        secret(number).public_key().public_bytes_raw()
    )


def pairs(*options: tuple[str, bytes]) -> bytes:
    return b"".join(encode_text(name) + encode_string(data) for name, data in options)


def build(
    *,
    cert_type: int = 1,
    principals: bytes = encode_text("alice") + encode_text("bob"),
    options: bytes = pairs(("force-command", encode_text("/bin/true"))),
    extensions: bytes = pairs(("permit-pty", b"")),
    reserved: bytes = b"",
    signature_key: bytes | None = None,
    signature: bytes | None = None,
) -> bytes:
    """An Ed25519 certificate of key 1 by key 2, with any of its parts replaced."""
    body = (
        encode_text(NAME)
        + encode_string(b"nonce")
        + encode_string(secret(1).public_key().public_bytes_raw())
        + encode_uint64(9)
        + encode_uint32(cert_type)
        + encode_text("the id")
        + encode_string(principals)
        + encode_uint64(100)
        + encode_uint64(200)
        + encode_string(options)
        + encode_string(extensions)
        + encode_string(reserved)
        + encode_string(plain_blob(2) if signature_key is None else signature_key)
    )
    if signature is None:
        signature = encode_signature(Signature("ssh-ed25519", secret(2).sign(body)))
    return body + encode_string(signature)


def test_every_field_is_read() -> None:
    blob = build()
    certificate = parse_certificate(blob)
    assert certificate == Certificate(
        key=PublicKey(NAME, blob),
        nonce=b"nonce",
        public_key=PublicKey("ssh-ed25519", plain_blob(1)),
        serial=9,
        type=CertificateType.USER,
        key_id="the id",
        principals=("alice", "bob"),
        valid_after=100,
        valid_before=200,
        critical_options=(("force-command", encode_text("/bin/true")),),
        extensions=(("permit-pty", b""),),
        signature_key=PublicKey("ssh-ed25519", plain_blob(2)),
        signature=certificate.signature,
        signed_bytes=blob[: len(blob) - 4 - len(certificate.signature)],
    )
    verify_certificate_signature(certificate)


def test_certificate_is_a_public_key_with_the_fingerprint_of_its_plain_key() -> None:
    key = parse_public_key(build())
    assert key.algorithm == NAME
    assert plain_public_key(key) == PublicKey("ssh-ed25519", plain_blob(1))
    assert fingerprint(key.blob) == fingerprint(plain_blob(1))


def test_signature_by_the_certified_key_verifies_under_the_certificate() -> None:
    key = parse_public_key(build())
    verify_signature(key, encode_signature(Signature("ssh-ed25519", secret(1).sign(b"x"))), b"x")
    with pytest.raises(VerificationError):
        verify_signature(
            key, encode_signature(Signature("ssh-ed25519", secret(2).sign(b"x"))), b"x"
        )


def test_certificate_is_refused_truncated_or_with_trailing_data() -> None:
    blob = build()
    for size in range(len(blob)):
        with pytest.raises(WireError):
            parse_certificate(blob[:size])
    with pytest.raises(WireError, match="trailing"):
        parse_certificate(blob + b"\0")


def test_change_of_any_signed_byte_is_found() -> None:
    blob = build()
    signed = len(parse_certificate(blob).signed_bytes)
    for index in range(signed):
        changed = bytearray(blob)
        changed[index] ^= 0x01
        try:
            certificate = parse_certificate(bytes(changed))
        except WireError:
            continue
        with pytest.raises(VerificationError):
            verify_certificate_signature(certificate)


def test_verification_says_who_signed_not_who_is_trusted() -> None:
    certificate = replace(
        parse_certificate(build()), signature_key=PublicKey("ssh-ed25519", plain_blob(3))
    )
    with pytest.raises(VerificationError) as caught:
        verify_certificate_signature(certificate)
    assert caught.value.reason == "bad_signature"


def test_reserved_bytes_are_ignored_but_signed() -> None:
    verify_certificate_signature(parse_certificate(build(reserved=b"later")))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (build(cert_type=0), "type"),
        (build(cert_type=3), "type"),
        (build(principals=encode_text("a") * (MAX_PRINCIPALS + 1)), "principals"),
        (build(principals=b"\0\0\0\5a"), "wanted"),
        (build(principals=encode_string(b"\xff")), "UTF-8"),
        (build(principals=encode_text("root\0alice")), "NUL"),
        (build(extensions=pairs(("permit-pty\0", b""))), "NUL"),
        (build(options=pairs(("b", b""), ("a", b""))), "order"),
        (build(extensions=pairs(("a", b""), ("a", b""))), "repeated"),
        (build(options=encode_text("name without data")), "wanted"),
        (
            build(extensions=pairs(*((f"{n:04}", b"") for n in range(MAX_OPTIONS + 1)))),
            "options",
        ),
        (build(signature_key=build()), "cannot sign"),
        (build(signature_key=plain_blob(2) + b"\0"), "trailing"),
        (build(signature_key=b""), "wanted"),
        (build(signature=b""), "wanted"),
        (build(signature=encode_text("none") + encode_string(b"")), "format"),
        (plain_blob(1), "not a certificate"),
    ],
)
def test_certificate_with_an_impossible_part_is_refused(part: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        parse_certificate(part)


def test_largest_numbers_of_principals_and_options_are_taken() -> None:
    certificate = parse_certificate(
        build(
            principals=encode_text("a") * MAX_PRINCIPALS,
            extensions=pairs(*((f"{n:04}", b"") for n in range(MAX_OPTIONS))),
        )
    )
    assert len(certificate.principals) == MAX_PRINCIPALS
    assert len(certificate.extensions) == MAX_OPTIONS
