"""Private keys: the file, its fields, and everything in them that must agree."""

from __future__ import annotations

import base64
import itertools
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1

import sshwire
from sshwire.algorithms import KEY_ALGORITHMS, find_algorithm
from sshwire.errors import PassphraseError, UnsupportedError, VerificationError, WireError
from sshwire.keyblob import PublicKey, encode_public_fields
from sshwire.privkey import (
    MAX_KDF_ROUNDS,
    MAX_PRIVATE_FILE_BYTES,
    PrivateKey,
    SecurityKeyHandle,
    decrypt_private_file,
    encode_private_fields,
    encode_private_key,
    parse_private_fields,
    parse_private_file,
    parse_private_keys,
)
from sshwire.privkey.ciphers import CIPHERS, wipe
from sshwire.pubkey import parse_public_key
from sshwire.signature import Signature, encode_signature, parse_signature, verify_signature
from sshwire.wire import (
    Reader,
    encode_mpint,
    encode_string,
    encode_text,
    encode_uint32,
    encode_uint64,
)

SEED = bytes(range(32))
CURVES = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
PLAIN = [row.name for row in KEY_ALGORITHMS.values() if not row.is_certificate]
SOFTWARE = [name for name in PLAIN if not find_algorithm(name).is_security_key]


def counting(size: int) -> bytes:
    """A source of bytes that is anything but random."""
    return bytes(itertools.islice(itertools.cycle(range(1, 256)), size))


def _secret(
    name: str,
) -> Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey:
    if find_algorithm(name).family == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(SEED)
    if find_algorithm(name).family == "rsa":
        return rsa.generate_private_key(65537, 1024)  # noqa: S505 - small keys are quick
    if find_algorithm(name).family == "dsa":
        return dsa.generate_private_key(1024)  # noqa: S505 - the size that ssh-dss has
    curve = find_algorithm(name).curve
    assert curve is not None
    return ec.derive_private_key(12345, CURVES[int(curve.name[-3:])])


@cache
def plain_key(name: str) -> PrivateKey:
    row = find_algorithm(name)
    secret = _secret(name)
    blob = encode_text(name) + encode_public_fields(row, secret.public_key())
    if not row.is_security_key:
        return PrivateKey(PublicKey(name, blob), "me", secret)
    public = PublicKey(name, blob + encode_text("ssh:"))
    return PrivateKey(public, "me", SecurityKeyHandle(0x21, b"handle", b""))


@cache
def certified_key(name: str) -> PrivateKey:
    plain = plain_key(name)
    row = next(r for r in KEY_ALGORITHMS.values() if r.plain_name == name and r.is_certificate)
    ca = plain_key("ssh-ed25519")
    body = (
        encode_text(row.name)
        + encode_string(b"nonce")
        + plain.public.blob[len(encode_text(name)) :]
        + encode_uint64(1)
        + encode_uint32(1)
        + encode_string(b"") * 2
        + encode_uint64(0) * 2
        + encode_string(b"") * 3
        + encode_string(ca.public.blob)
    )
    certificate = parse_public_key(body + encode_string(ca.sign(body)))
    return plain.with_certificate(certificate)


def test_there_is_a_certificate_of_every_plain_algorithm() -> None:
    names = {certified_key(name).public.algorithm for name in PLAIN}
    assert names == {row.name for row in KEY_ALGORITHMS.values() if row.is_certificate}


def read_private(data: bytes) -> PrivateKey:
    reader = Reader(bytearray(data))
    key = parse_private_fields(reader, reader.text(), "me")
    reader.finish()
    return key


def same_secret(one: PrivateKey, other: PrivateKey) -> bool:
    return encode_private_fields(one) == encode_private_fields(other)


@pytest.mark.parametrize("make", [plain_key, certified_key])
@pytest.mark.parametrize("name", PLAIN)
def test_fields_are_read_whole_and_refused_truncated(name: str, make: object) -> None:
    key = plain_key(name) if make is plain_key else certified_key(name)
    encoded = encode_private_fields(key)
    back = read_private(encoded)
    assert back.public == key.public
    assert same_secret(back, key)
    for size in range(len(encoded)):
        with pytest.raises(WireError):
            read_private(encoded[:size])


@pytest.mark.parametrize("name", PLAIN)
def test_file_is_read_whole_truncated_and_with_trailing_data(name: str) -> None:
    key = plain_key(name)
    data = encode_private_key(key, random_bytes=counting)
    (back,) = parse_private_keys(data)
    assert (back.public, back.comment) == (key.public, "me")
    assert same_secret(back, key)
    assert parse_private_keys(data, passphrase=b"not needed")
    blob = unarmor(data)
    for size in range(len(blob)):
        with pytest.raises(WireError):
            parse_private_keys(armor(blob[:size]))
    with pytest.raises(WireError, match="trailing"):
        parse_private_keys(armor(blob + b"\0"))
    for size in range(len(data) - 1):
        with pytest.raises(WireError):
            parse_private_keys(data[:size])


@pytest.mark.parametrize("cipher", [row.name for row in CIPHERS.values() if row.mode != "none"])
def test_encrypted_file_opens_with_its_passphrase_only(cipher: str) -> None:
    key = plain_key("ssh-ed25519")
    if not CIPHERS[cipher].is_written:
        with pytest.raises(UnsupportedError, match=cipher):
            encode_private_key(key, random_bytes=counting, passphrase=b"pw", cipher=cipher)
        return
    data = encode_private_key(key, random_bytes=counting, passphrase=b"pw", rounds=1, cipher=cipher)
    file = parse_private_file(data)
    assert file.is_encrypted
    assert file.public == key.public
    assert same_secret(decrypt_private_file(file, b"pw"), key)
    for wrong in (None, b"", b"pv"):
        with pytest.raises(PassphraseError):
            decrypt_private_file(file, wrong)


def test_encrypting_needs_a_cipher_a_passphrase_and_sane_rounds() -> None:
    key = plain_key("ssh-ed25519")
    for passphrase, rounds, cipher in (
        (b"pw", 0, "aes256-ctr"),
        (b"pw", MAX_KDF_ROUNDS + 1, "aes256-ctr"),
        (b"pw", 1, "none"),
        (b"pw", 1, "rot13"),
        (b"", 1, "aes256-ctr"),
    ):
        with pytest.raises(WireError):
            encode_private_key(
                key, random_bytes=counting, passphrase=passphrase, rounds=rounds, cipher=cipher
            )


def test_representation_shows_no_secret() -> None:
    key = plain_key("sk-ssh-ed25519@openssh.com")
    data = encode_private_key(
        plain_key("ssh-ed25519"), random_bytes=counting, passphrase=b"pw", rounds=1
    )
    shown = repr(key) + repr(parse_private_file(data)) + repr(plain_key("ssh-ed25519"))
    assert "handle" not in shown
    assert "secret" not in shown
    assert repr(SEED)[2:20] not in shown


# The file, built by hand so that any part of it can be wrong.


def armor(blob: bytes) -> bytes:
    body = base64.b64encode(blob)
    return (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )


def unarmor(data: bytes) -> bytes:
    return base64.b64decode(b"".join(data.splitlines()[1:-1]))


def section(
    *,
    fields: bytes | None = None,
    checks: tuple[int, int] = (5, 5),
    comment: bytes = b"me",
    padding: bytes | None = None,
) -> bytes:
    if fields is None:
        fields = encode_private_fields(plain_key("ssh-ed25519"))
    clear = b"".join(map(encode_uint32, checks)) + fields + encode_string(comment)
    return clear + (bytes(range(1, -len(clear) % 8 + 1)) if padding is None else padding)


def container(
    private: bytes | None = None,
    *,
    magic: bytes = b"openssh-key-v1\0",
    cipher: str = "none",
    kdf: str = "none",
    options: bytes = b"",
    count: int = 1,
    public: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    return armor(
        magic
        + encode_text(cipher)
        + encode_text(kdf)
        + encode_string(options)
        + encode_uint32(count)
        + encode_string(plain_key("ssh-ed25519").public.blob if public is None else public)
        + encode_string(section() if private is None else private)
        + tail
    )


def bcrypt_options(salt: bytes = bytes(16), rounds: int = 1) -> bytes:
    return encode_string(salt) + encode_uint32(rounds)


GOOD = container()
PAD = -len(section(padding=b"")) % 8


def test_file_built_by_hand_is_read() -> None:
    (key,) = parse_private_keys(GOOD)
    assert same_secret(key, plain_key("ssh-ed25519"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\n\n" + GOOD + b"  \n", id="white space around"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), id="lines of DOS"),
        pytest.param(container(section(padding=bytes(range(1, PAD + 9)))), id="a block of padding"),
    ],
)
def test_file_is_read_in_spite_of(data: bytes) -> None:
    assert parse_private_keys(data)


def test_comment_that_is_not_utf8_does_not_cost_the_key() -> None:
    (key,) = parse_private_keys(container(section(comment=b"caf\xe9")))
    assert key.comment == "caf\\xe9"
    assert parse_private_keys(encode_private_key(key, random_bytes=counting))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an OpenSSH"),
        (b"-----BEGIN RSA PRIVATE KEY-----\n", "ssh-keygen -p"),
        (b"x" + GOOD, "not an OpenSSH"),
        (GOOD + b"x", "last line"),
        (GOOD.replace(b"b3Bl", b"b3B!", 1), "base64"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "last line"),
        (bytes(MAX_PRIVATE_FILE_BYTES + 1), "limit"),
        (container(magic=b"openssh-key-v2\0"), "openssh-key-v1"),
        (container(cipher="rot13"), "cipher"),
        (container(kdf="scrypt"), "derivation"),
        (container(kdf="bcrypt"), "with key derivation"),
        (container(cipher="aes256-ctr"), "with key derivation"),
        (container(options=b"x"), "with options"),
        (container(cipher="aes256-ctr", kdf="bcrypt"), "wanted"),
        (container(cipher="aes256-ctr", kdf="bcrypt", options=bcrypt_options(b"")), "salt"),
        (container(cipher="aes256-ctr", kdf="bcrypt", options=bcrypt_options(bytes(65))), "limit"),
        (container(cipher="aes256-ctr", kdf="bcrypt", options=bcrypt_options(rounds=0)), "round"),
        (
            container(
                cipher="aes256-ctr", kdf="bcrypt", options=bcrypt_options(rounds=MAX_KDF_ROUNDS + 1)
            ),
            "rounds",
        ),
        (container(cipher="aes256-ctr", kdf="bcrypt", options=bcrypt_options() + b"x"), "trailing"),
        (container(count=0), "of 0 keys"),
        (container(count=2), "of 2 keys"),
        (container(public=b""), "wanted"),
        (container(public=plain_key("ecdsa-sha2-nistp256").public.blob), "not that of its private"),
        (container(b""), "blocks"),
        (container(section() + b"\x00"), "blocks"),
        (container(tail=b"x"), "trailing"),
        (container(section(checks=(5, 6))), "check numbers"),
        (container(section(padding=bytes(PAD))), "padding"),
        (container(section() + bytes(8)), "padding"),
        (container(section() + bytes(256)), "more than 255"),
    ],
)
def test_file_with_an_impossible_part_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        parse_private_keys(data, passphrase=b"pw")


# Fields that contradict each other.

PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()


@pytest.mark.parametrize(
    "fields",
    [
        encode_string(PUBLIC) + encode_string(SEED),
        encode_string(PUBLIC) + encode_string(SEED + OTHER),
        encode_string(OTHER) + encode_string(SEED + PUBLIC),
        encode_string(OTHER) + encode_string(SEED + OTHER),
        encode_string(b"") + encode_string(SEED + SEED),
    ],
)
def test_ed25519_halves_that_disagree_are_refused(fields: bytes) -> None:
    with pytest.raises(WireError, match="disagree"):
        parse_private_fields(Reader(fields), "ssh-ed25519")


@pytest.mark.parametrize("scalar", [0, -1, 12346, 2**256, 2**600])
def test_ecdsa_number_that_is_not_of_the_point_is_refused(scalar: int) -> None:
    name = "ecdsa-sha2-nistp256"
    fields = encode_private_fields(plain_key(name))[len(encode_text(name)) :]
    stated = fields[: -len(encode_mpint(12345))]
    with pytest.raises(WireError):
        parse_private_fields(Reader(stated + encode_mpint(scalar)), name)


def rsa_fields(**changes: int) -> bytes:
    secret = plain_key("ssh-rsa").secret
    assert isinstance(secret, rsa.RSAPrivateKey)
    numbers = secret.private_numbers()
    values = {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "iqmp": numbers.iqmp,
        "p": numbers.p,
        "q": numbers.q,
    }
    return b"".join(map(encode_mpint, (values | changes).values()))


def test_rsa_fields_as_they_are_can_be_read() -> None:
    assert parse_private_fields(Reader(rsa_fields()), "ssh-rsa").public.algorithm == "ssh-rsa"


@pytest.mark.parametrize("name", ["n", "e", "d", "iqmp", "p", "q"])
@pytest.mark.parametrize("value", [-1, 0, 1, 2, 3, 2**1023 + 1, 2**9000 + 1])
def test_rsa_numbers_that_do_not_fit_are_refused(name: str, value: int) -> None:
    with pytest.raises(WireError):
        parse_private_fields(Reader(rsa_fields(**{name: value})), "ssh-rsa")


def test_rsa_factors_one_and_the_modulus_are_refused() -> None:
    modulus = Reader(rsa_fields()).mpint()
    with pytest.raises(WireError, match="do not fit"):
        parse_private_fields(Reader(rsa_fields(p=modulus, q=1)), "ssh-rsa")


@pytest.mark.parametrize("name", SOFTWARE)
def test_certificate_of_another_key_is_refused(name: str) -> None:
    other = "ssh-ed25519" if name != "ssh-ed25519" else "ecdsa-sha2-nistp256"
    with pytest.raises(WireError, match="not of this key"):
        plain_key(name).with_certificate(certified_key(other).public)
    certified = certified_key(name)
    fields = encode_private_fields(certified)[len(encode_text(certified.public.algorithm)) :]
    with pytest.raises(WireError, match="with a certificate of"):
        parse_private_fields(Reader(fields), certified_key(other).public.algorithm)


def test_certificate_over_another_private_half_is_refused() -> None:
    certified = certified_key("ssh-ed25519")
    stranger = replace(certified, secret=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    fields = encode_private_fields(stranger)[len(encode_text(certified.public.algorithm)) :]
    with pytest.raises(WireError, match="another key"):
        parse_private_fields(Reader(fields), certified.public.algorithm)


@pytest.mark.parametrize("name", [name for name in PLAIN if name.startswith("sk-")])
def test_security_key_under_a_certificate_must_repeat_its_application(name: str) -> None:
    certified = certified_key(name)
    head = len(encode_text(certified.public.algorithm))
    fields = encode_private_fields(certified)[head:]
    at = fields.rindex(b"ssh:")
    with pytest.raises(WireError, match="application"):
        parse_private_fields(
            Reader(fields[:at] + b"ssh!" + fields[at + 4 :]), certified.public.algorithm
        )


def test_dsa_signs_as_old_servers_check_it_and_never_verifies_here() -> None:
    key = certified_key("ssh-dss")
    with pytest.raises(UnsupportedError, match="SHA-1"):
        key.sign(b"data")
    signature = parse_signature(key.sign_over_sha1(b"data"))
    assert (signature.format, len(signature.blob)) == ("ssh-dss", 40)
    r, s = (int.from_bytes(half, "big") for half in (signature.blob[:20], signature.blob[20:]))
    assert isinstance(key.secret, dsa.DSAPrivateKey)
    der = encode_dss_signature(r, s)
    key.secret.public_key().verify(der, b"data", SHA1())  # noqa: S303 - what DSA of SSH has
    with pytest.raises(VerificationError) as caught:
        verify_signature(key.public, encode_signature(signature), b"data")
    assert caught.value.reason == "sha1_refused"


def test_rsa_signs_over_sha1_only_when_told_to() -> None:
    key = plain_key("ssh-rsa")
    signature = parse_signature(key.sign_over_sha1(b"data"))
    assert signature.format == "ssh-rsa"
    assert isinstance(key.secret, rsa.RSAPrivateKey)
    key.secret.public_key().verify(signature.blob, b"data", PKCS1v15(), SHA1())  # noqa: S303 - what the format means
    assert parse_signature(key.sign(b"data")).format == "rsa-sha2-256"
    with pytest.raises(UnsupportedError, match="SHA-1"):
        plain_key("ssh-ed25519").sign_over_sha1(b"data")


def test_dsa_of_another_size_and_with_another_half_is_refused() -> None:
    fields = encode_private_fields(plain_key("ssh-dss"))
    with pytest.raises(WireError, match="disagree"):
        read_private(fields[:-21] + encode_mpint(1)[-1:].rjust(21, b"\0"))
    big = dsa.generate_private_key(2048)
    row = find_algorithm("ssh-dss")
    blob = encode_text("ssh-dss") + encode_public_fields(row, big.public_key())
    with pytest.raises(WireError, match="1024"):
        parse_public_key(blob)


@pytest.mark.parametrize("name", [name for name in SOFTWARE if name != "ssh-dss"])
def test_key_under_a_certificate_signs_with_the_plain_format(name: str) -> None:
    key = certified_key(name)
    signature = key.sign(b"data")
    verify_signature(key.public, signature, b"data")
    verify_signature(plain_key(name).public, signature, b"data")
    assert signature.startswith(
        encode_signature(Signature(find_algorithm(name).signature_formats[0], b""))[:-4]
    )


def test_wiped_buffer_keeps_its_length_and_nothing_else() -> None:
    buffer = bytearray(b"secret")
    wipe(buffer)
    assert buffer == bytes(6)


def test_nothing_heavy_is_loaded_before_a_key_is_read() -> None:
    check = (
        "import sys, sshwire.privkey; sys.exit(len({'cryptography', 'bcrypt'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        env={"PYTHONPATH": str(Path(sshwire.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == 0
