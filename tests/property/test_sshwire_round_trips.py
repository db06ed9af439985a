"""What is encoded comes back, and what comes back has one encoding only."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwire.algorithms import KEY_ALGORITHMS, SIGNATURE_FORMATS
from sshwire.errors import WireError
from sshwire.privkey import encode_private_key, parse_private_fields, parse_private_keys
from sshwire.pubkey import encode_public_line, parse_public_line
from sshwire.signature import Signature, encode_signature, parse_signature, verify_signature
from sshwire.wire import (
    Reader,
    encode_mpint,
    encode_name_list,
    encode_string,
    encode_text,
    encode_uint64,
)

SEEDS = st.binary(min_size=32, max_size=32)
LINE_TEXT = st.text(st.characters(exclude_categories=("C", "Z")), max_size=40)


def _fields(seed: bytes) -> bytes:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return encode_string(public) + encode_string(seed + public)


@given(st.integers(-(2**600), 2**600))
def test_mpint_comes_back(value: int) -> None:
    reader = Reader(encode_mpint(value))
    assert reader.mpint() == value
    reader.finish()


@given(st.binary(max_size=80))
def test_mpint_has_one_encoding(raw: bytes) -> None:
    try:
        value = Reader(encode_string(raw)).mpint()
    except WireError:
        return
    assert encode_mpint(value) == encode_string(raw)


@given(st.binary(), st.text(), st.integers(0, 2**64 - 1))
def test_fields_come_back_in_their_order(data: bytes, text: str, number: int) -> None:
    reader = Reader(encode_string(data) + encode_text(text) + encode_uint64(number))
    assert (reader.string(), reader.text(), reader.uint64()) == (data, text, number)
    reader.finish()


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters=","), min_size=1)))
def test_name_list_comes_back(names: list[str]) -> None:
    assert Reader(encode_name_list(tuple(names))).name_list() == tuple(names)


@given(
    st.sampled_from(sorted(SIGNATURE_FORMATS)),
    st.binary(max_size=300),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
)
def test_signature_comes_back(name: str, raw: bytes, flags: int, counter: int) -> None:
    is_security_key = SIGNATURE_FORMATS[name].is_security_key
    signature = Signature(name, raw, *((flags, counter) if is_security_key else ()))
    assert parse_signature(encode_signature(signature)) == signature


@given(SEEDS, st.text(max_size=60))
def test_private_key_comes_back_from_its_file(seed: bytes, comment: str) -> None:
    key = parse_private_fields(Reader(_fields(seed)), "ssh-ed25519", comment)
    (back,) = parse_private_keys(encode_private_key(key, random_bytes=bytes))
    assert (back.public, back.comment) == (key.public, comment)
    assert back.sign(b"data") == key.sign(b"data")


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.binary(min_size=1, max_size=80))
def test_encrypted_private_key_comes_back_with_its_passphrase(
    seed: bytes, passphrase: bytes
) -> None:
    key = parse_private_fields(Reader(_fields(seed)), "ssh-ed25519", "")
    data = encode_private_key(key, random_bytes=bytes, passphrase=passphrase, rounds=1)
    (back,) = parse_private_keys(data, passphrase=passphrase)
    assert back.sign(b"data") == key.sign(b"data")


@given(SEEDS, LINE_TEXT)
def test_public_line_comes_back(seed: bytes, comment: str) -> None:
    key = parse_private_fields(Reader(_fields(seed)), "ssh-ed25519")
    assert parse_public_line(encode_public_line(key.public, comment)) == (key.public, comment)


@given(SEEDS, st.binary(max_size=200), st.integers(0, 7).filter(lambda flags: not flags & 1))
def test_what_a_key_signs_verifies(seed: bytes, data: bytes, flags: int) -> None:
    key = parse_private_fields(Reader(_fields(seed)), "ssh-ed25519")
    verify_signature(key.public, key.sign(data, flags), data)


def test_every_algorithm_name_is_its_own_row() -> None:
    assert all(name == row.name for name, row in KEY_ALGORITHMS.items())
    assert all(row.plain_name in KEY_ALGORITHMS for row in KEY_ALGORITHMS.values())
