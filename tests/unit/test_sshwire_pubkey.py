"""Public key blobs, lines and fingerprints: what is refused, and that every byte counts."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sshwire.algorithms import KEY_ALGORITHMS, SIGNATURE_FORMATS, find_signature_format
from sshwire.errors import UnsupportedError, WireError
from sshwire.pubkey import (
    MAX_LINE_CHARS,
    PublicKey,
    encode_public_line,
    fingerprint,
    md5_fingerprint,
    parse_public_key,
    parse_public_line,
    plain_public_key,
)
from sshwire.wire import MAX_STRING_BYTES, encode_mpint, encode_string, encode_text

POINT = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
ED25519 = encode_text("ssh-ed25519") + encode_string(POINT)
SK_ED25519 = encode_text("sk-ssh-ed25519@openssh.com") + encode_string(POINT) + encode_text("ssh:")


def ecdsa_blob(curve: ec.EllipticCurve, size: int, *, compressed: bool = False) -> bytes:
    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    point = ec.derive_private_key(7, curve).public_key().public_bytes(Encoding.X962, form)
    name = f"nistp{size}"
    return encode_text(f"ecdsa-sha2-{name}") + encode_text(name) + encode_string(point)


def rsa_blob(exponent: int, modulus: int) -> bytes:
    return encode_text("ssh-rsa") + encode_mpint(exponent) + encode_mpint(modulus)


P256 = ecdsa_blob(ec.SECP256R1(), 256)
SK_P256 = (
    encode_text("sk-ecdsa-sha2-nistp256@openssh.com")
    + P256[len(encode_text("ecdsa-sha2-nistp256")) :]
    + encode_text("ssh:")
)
RSA = rsa_blob(65537, 2**1023 + 1)
_GROUP = dsa.generate_parameters(1024).parameter_numbers()
DSS = encode_text("ssh-dss") + b"".join(map(encode_mpint, (_GROUP.p, _GROUP.q, _GROUP.g, _GROUP.g)))
BLOBS = {
    "ssh-ed25519": ED25519,
    "ecdsa-sha2-nistp256": P256,
    "ecdsa-sha2-nistp384": ecdsa_blob(ec.SECP384R1(), 384),
    "ecdsa-sha2-nistp521": ecdsa_blob(ec.SECP521R1(), 521),
    "ssh-rsa": RSA,
    "ssh-dss": DSS,
    "sk-ssh-ed25519@openssh.com": SK_ED25519,
    "sk-ecdsa-sha2-nistp256@openssh.com": SK_P256,
}


def test_every_plain_algorithm_is_covered_here() -> None:
    assert set(BLOBS) == {row.name for row in KEY_ALGORITHMS.values() if not row.is_certificate}


def test_every_signature_format_of_a_key_is_in_the_table() -> None:
    named = {name for row in KEY_ALGORITHMS.values() for name in row.signature_formats}
    assert named == set(SIGNATURE_FORMATS)
    with pytest.raises(UnsupportedError):
        find_signature_format("webauthn-sk-ecdsa-sha2-nistp256@openssh.com")


@pytest.mark.parametrize("name", BLOBS)
def test_blob_is_taken_whole_and_refused_truncated_or_with_trailing_data(name: str) -> None:
    blob = BLOBS[name]
    key = parse_public_key(blob)
    assert key == PublicKey(name, blob)
    assert plain_public_key(key) == key
    for size in range(len(blob)):
        with pytest.raises(WireError):
            parse_public_key(blob[:size])
    with pytest.raises(WireError, match="trailing"):
        parse_public_key(blob + b"\x00")


OFF_CURVE = bytearray(P256)
OFF_CURVE[-1] ^= 1


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(encode_text("ssh-ed25519") + encode_string(POINT[:31]), id="short point"),
        pytest.param(encode_text("ssh-ed25519") + encode_string(POINT + b"\0"), id="long point"),
        pytest.param(bytes(OFF_CURVE), id="point off its curve"),
        pytest.param(ecdsa_blob(ec.SECP256R1(), 256, compressed=True), id="compressed point"),
        pytest.param(P256.replace(b"nistp256", b"nistp384", 1), id="name says another curve"),
        pytest.param(P256[:27] + P256[27:].replace(b"nistp256", b"nistp384"), id="other curve"),
        pytest.param(encode_text("ecdsa-sha2-nistp256") + encode_text("nistp256"), id="no point"),
        pytest.param(rsa_blob(65537, 2**1022 + 1), id="modulus of 1023 bits"),
        pytest.param(rsa_blob(65537, 2**16384 + 1), id="modulus of 16385 bits"),
        pytest.param(rsa_blob(65537, -(2**2047) - 1), id="negative modulus"),
        pytest.param(rsa_blob(65537, 2**2047), id="even modulus"),
        pytest.param(rsa_blob(1, 2**2047 + 1), id="exponent 1"),
        pytest.param(rsa_blob(65536, 2**2047 + 1), id="even exponent"),
        pytest.param(rsa_blob(-3, 2**2047 + 1), id="negative exponent"),
        pytest.param(rsa_blob(2**64 + 1, 2**2047 + 1), id="exponent of 65 bits"),
        pytest.param(SK_ED25519[:-8] + encode_string(b"s\0h:"), id="NUL in the application"),
        pytest.param(SK_ED25519[:-8] + encode_string(b"\xff"), id="application is not UTF-8"),
        pytest.param(encode_string(b"\xff"), id="name is not ASCII"),
        pytest.param(encode_string(b"x" * 65), id="name too long"),
        pytest.param(bytes(MAX_STRING_BYTES + 1), id="blob too long"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_blob_that_is_no_sound_key_is_refused(blob: bytes) -> None:
    with pytest.raises(WireError):
        parse_public_key(blob)


def test_unknown_algorithm_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="ssh-ed448"):
        parse_public_key(encode_text("ssh-ed448") + encode_string(bytes(57)))


def test_largest_modulus_is_taken() -> None:
    assert parse_public_key(rsa_blob(3, 2**16383 + 1)).algorithm == "ssh-rsa"


LINE = "ssh-ed25519 " + base64.b64encode(ED25519).decode()


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        (LINE, ""),
        (f"{LINE}\n", ""),
        (f"{LINE}\r\n", ""),
        (f"  {LINE}  ", ""),
        (f"{LINE} me@example", "me@example"),
        (f"{LINE}\ttwo words \n", "two words"),
        (LINE.replace(" ", " \t ", 1), ""),
    ],
)
def test_line_gives_key_and_comment(line: str, comment: str) -> None:
    assert parse_public_line(line) == (PublicKey("ssh-ed25519", ED25519), comment)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 ####",
        "ssh-ed25519 AAA",
        "ssh-ed25519 é",
        LINE.replace(" ", "\n"),
        LINE.replace(" ", "\x0b"),
        LINE.replace("ssh-ed25519", "ssh-rsa"),
        f"{LINE} two\nlines",
        f"no-pty {LINE}",
        " " * (MAX_LINE_CHARS + 1),
    ],
)
def test_line_that_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(WireError):
        parse_public_line(line)


def test_line_is_refused_at_every_truncation_of_its_key() -> None:
    for size in range(len(LINE)):
        with pytest.raises(WireError):
            parse_public_line(LINE[:size])


@pytest.mark.parametrize("comment", ["a\nb", "a\rb", "a\0b"])
def test_comment_cannot_add_a_line(comment: str) -> None:
    with pytest.raises(WireError, match="one line"):
        encode_public_line(PublicKey("ssh-ed25519", ED25519), comment)


def test_line_without_comment_has_no_space_at_its_end() -> None:
    assert encode_public_line(PublicKey("ssh-ed25519", ED25519)) == LINE


def test_fingerprint_refuses_weak_hashes_and_what_is_no_key() -> None:
    for hash_name in ("md5", "sha1", ""):
        with pytest.raises(UnsupportedError):
            fingerprint(ED25519, hash_name)
    with pytest.raises(WireError):
        fingerprint(b"not a key")


def test_md5_is_for_people_who_compare_with_old_tools() -> None:
    assert re.fullmatch("MD5:([0-9a-f]{2}:){15}[0-9a-f]{2}", md5_fingerprint(ED25519))
    with pytest.raises(WireError):
        md5_fingerprint(b"not a key")


def test_fingerprint_is_the_hash_of_the_blob_without_padding() -> None:
    assert fingerprint(ED25519) == "SHA256:tAXFyTXI8xtDaujAEcwJslAYc9/6FKcUkd2Lw0xDhPo"
