"""The messages of OpenSSH's token helpers, byte for byte and with noise."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import given
from hypothesis import strategies as st

from sshwire.errors import UnsupportedError, WireError
from sshwire.pubkey import PublicKey
from sshwire.signature import Signature, encode_signature, verify_signature
from sshwire.token.pkcs11_helper import (
    Dialect,
    LoadFailure,
    TokenKey,
    choose_format,
    encode_dialect_probe,
    encode_load_request,
    encode_token_sign_request,
    parse_load_reply,
    parse_token_sign_reply,
)
from sshwire.token.sk_helper import (
    MAX_MESSAGE_BYTES,
    SkRefusal,
    SkSignRequest,
    encode_sk_sign_request,
    parse_sk_sign_reply,
)
from sshwire.wire import Reader, encode_mpint, encode_string, encode_text, encode_uint32

RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())


def rsa_public() -> PublicKey:
    numbers = RSA.public_key().public_numbers()
    fields = encode_mpint(numbers.e) + encode_mpint(numbers.n)
    return PublicKey("ssh-rsa", encode_text("ssh-rsa") + fields)


def p256_public() -> PublicKey:
    numbers = P256.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    name = "ecdsa-sha2-nistp256"
    blob = encode_text(name) + encode_text("nistp256") + encode_string(point)
    return PublicKey(name, blob)


def test_a_sign_request_to_a_security_key_has_the_fields_of_version_5() -> None:
    request = SkSignRequest(b"fields", "/usr/lib/fido.so", b"data", b"1234")
    reader = Reader(encode_sk_sign_request(request)).nested()
    assert (reader.byte(), reader.uint32(), reader.byte(), reader.uint32()) == (5, 1, 0, 2)
    assert (reader.string(), reader.text(), reader.string()) == (
        b"fields",
        "/usr/lib/fido.so",
        b"data",
    )
    assert (reader.text(), reader.uint32(), reader.string()) == ("", 0, b"1234")
    reader.finish()


def test_a_request_that_the_helper_would_not_read_is_not_made() -> None:
    with pytest.raises(WireError, match="too long"):
        encode_sk_sign_request(SkSignRequest(b"", "internal", bytes(MAX_MESSAGE_BYTES)))


def test_secrets_are_not_in_a_representation() -> None:
    shown = repr(SkSignRequest(b"handle", "internal", b"data", b"1234"))
    assert "1234" not in shown
    assert "handle" not in shown


@pytest.mark.parametrize(
    ("code", "reason"),
    [(43, "pin_required"), (60, "device_not_found"), (4, "device_failed"), (1, "device_refused")],
)
def test_a_refusal_of_a_security_key_has_a_word(code: int, reason: str) -> None:
    body = b"\x05" + encode_uint32(0) + encode_uint32(code)
    assert parse_sk_sign_reply(body) == SkRefusal(reason, code)


def test_a_helper_of_another_version_is_named() -> None:
    with pytest.raises(UnsupportedError, match="version 4"):
        parse_sk_sign_reply(b"\x04" + encode_uint32(1) + encode_string(b"signature"))


def test_the_signature_is_taken_from_a_reply() -> None:
    assert parse_sk_sign_reply(b"\x05" + encode_uint32(1) + encode_string(b"sig")) == b"sig"


@given(st.binary(max_size=64))
def test_any_reply_of_a_security_key_is_a_value_or_a_wire_error(body: bytes) -> None:
    try:
        parse_sk_sign_reply(body)
    except WireError:
        return


@given(st.binary(max_size=64))
def test_any_reply_of_a_module_is_a_value_or_a_wire_error(body: bytes) -> None:
    for dialect in Dialect:
        try:
            parse_load_reply(body)
            parse_token_sign_reply(body, p256_public(), "ecdsa-sha2-nistp256", dialect)
        except WireError:
            continue


def test_the_keys_of_a_module_are_listed_with_their_labels() -> None:
    reply = b"\x0c" + encode_uint32(1) + encode_string(b"blob") + encode_text("label")
    assert parse_load_reply(reply) == (TokenKey(b"blob", "label"),)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"\x1e", "module_refused"),
        (b"\x05" + encode_uint32(2), "pin_refused"),
        (b"\x1e" + encode_uint32(4), "pin_locked"),
    ],
)
def test_a_module_without_keys_says_why(reply: bytes, reason: str) -> None:
    assert parse_load_reply(reply) == LoadFailure(reason)


def test_a_module_is_loaded_by_path_and_pin() -> None:
    reader = Reader(encode_load_request("/usr/lib/module.so", b"1234")).nested()
    assert (reader.byte(), reader.text(), reader.string()) == (20, "/usr/lib/module.so", b"1234")
    reader.finish()


def test_the_probe_is_whole_for_the_older_helper_and_short_for_the_newer() -> None:
    reader = Reader(encode_dialect_probe()).nested()
    assert reader.byte() == 13
    reader.string()
    assert len(reader.string()) == 32
    assert reader.remaining == 4


@pytest.mark.parametrize(("flags", "name"), [(0, "sha256"), (2, "sha256"), (4, "sha512")])
def test_an_older_helper_signs_the_digest_of_an_rsa_key(flags: int, name: str) -> None:
    key = rsa_public()
    chosen = choose_format(key, flags)
    assert chosen == f"rsa-sha2-{name[3:]}"
    message = Reader(encode_token_sign_request(key, b"data", chosen, Dialect.DIGEST)).nested()
    assert (message.byte(), message.string()) == (13, key.blob)
    info = message.string()
    digest = hashlib.new(name, b"data").digest()
    assert info.endswith(digest)
    # What a module does with it: PKCS#1 padding around it and the private operation.
    algorithm = hashes.SHA256() if name == "sha256" else hashes.SHA512()
    raw = RSA.sign(digest, padding.PKCS1v15(), utils.Prehashed(algorithm))
    padded = pow(int.from_bytes(raw, "big"), 65537, RSA.public_key().public_numbers().n)
    assert padded.to_bytes(256, "big").endswith(b"\x00" + info)
    reply = b"\x0e" + encode_string(raw)
    signature = parse_token_sign_reply(reply, key, chosen, Dialect.DIGEST)
    assert signature is not None
    verify_signature(key, signature, b"data")


def test_an_older_helper_signs_the_digest_of_an_ecdsa_key() -> None:
    key, chosen = p256_public(), "ecdsa-sha2-nistp256"
    message = Reader(encode_token_sign_request(key, b"data", chosen, Dialect.DIGEST)).nested()
    message.byte()
    message.string()
    assert message.string() == hashlib.sha256(b"data").digest()
    reply = b"\x0e" + encode_string(P256.sign(b"data", ec.ECDSA(hashes.SHA256())))
    signature = parse_token_sign_reply(reply, key, chosen, Dialect.DIGEST)
    assert signature is not None
    verify_signature(key, signature, b"data")


def test_a_newer_helper_gets_the_data_and_the_algorithm() -> None:
    key, chosen = rsa_public(), "rsa-sha2-512"
    message = Reader(encode_token_sign_request(key, b"data", chosen, Dialect.DATA)).nested()
    assert (message.byte(), message.string(), message.string()) == (13, key.blob, b"data")
    assert (message.text(), message.uint32()) == (chosen, 0)
    message.finish()
    signature = encode_signature(Signature(chosen, bytes(256)))
    reply = b"\x0e" + encode_string(signature)
    assert parse_token_sign_reply(reply, key, chosen, Dialect.DATA) == signature
    with pytest.raises(WireError, match="another algorithm"):
        parse_token_sign_reply(reply, key, "rsa-sha2-256", Dialect.DATA)


def test_an_older_helper_is_not_asked_for_what_it_cannot_do() -> None:
    key = PublicKey("ssh-ed25519", encode_text("ssh-ed25519") + encode_string(bytes(32)))
    with pytest.raises(UnsupportedError, match="cannot sign"):
        encode_token_sign_request(key, b"data", "ssh-ed25519", Dialect.DIGEST)
    encode_token_sign_request(key, b"data", "ssh-ed25519", Dialect.DATA)


def test_a_module_that_would_not_sign_is_no_signature() -> None:
    reply = parse_token_sign_reply(b"\x1e", rsa_public(), "rsa-sha2-256", Dialect.DIGEST)
    assert reply is None
