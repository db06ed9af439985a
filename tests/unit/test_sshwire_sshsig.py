"""SSHSIG makes one text per signature, takes what ssh-keygen takes, and names every refusal."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sshwire.allowed_signers import AllowedSigner, AllowedSigners
from sshwire.errors import UnsupportedError, VerificationError, WireError
from sshwire.pubkey import PublicKey, fingerprint
from sshwire.sshsig import (
    HashName,
    Message,
    MessageDigest,
    SshSig,
    encode_sshsig,
    is_canonical,
    parse_sshsig,
    sign_message,
    verify_message,
)
from sshwire.wire import encode_string

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MESSAGE = b"hello\n"


class Ed25519Signer:
    """A signer whose key is always the same."""

    def __init__(self, seed: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        raw = self._private.public_key().public_bytes_raw()
        blob = encode_string(b"ssh-ed25519") + encode_string(raw)
        self.public_key = PublicKey("ssh-ed25519", blob)
        self.flags: list[int] = []

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        self.flags.append(flags)
        return encode_string(b"ssh-ed25519") + encode_string(self._private.sign(data))


SIGNER = Ed25519Signer(1)
ALLOWED = AllowedSigners((AllowedSigner(1, "me@x", SIGNER.public_key),))
ARMORED = sign_message(MESSAGE, signer=SIGNER, namespace="file")


def verify(message: Message, armored: bytes, *, namespace: str = "file", who: str = "me@x") -> str:
    verified = verify_message(
        message, armored, namespace=namespace, principal=who, now=NOW, allowed=ALLOWED
    )
    return verified.fingerprint


def reason(message: Message, armored: bytes, *, namespace: str = "file", who: str = "me@x") -> str:
    with pytest.raises(VerificationError) as caught:
        verify(message, armored, namespace=namespace, who=who)
    return caught.value.reason


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_message_digest_and_chunks_sign_alike(hash_name: HashName) -> None:
    digest = MessageDigest(hash_name, hashlib.new(hash_name, MESSAGE).digest())
    forms: list[Message] = [MESSAGE, bytearray(MESSAGE), digest, iter([b"hel", b"", b"lo\n"])]
    made = {sign_message(m, signer=SIGNER, namespace="file", hash_name=hash_name) for m in forms}
    armored = made.pop()
    assert not made
    assert parse_sshsig(armored).hash_name == hash_name
    for form in (MESSAGE, digest, iter([b"hello", b"\n"])):
        assert verify(form, armored) == fingerprint(SIGNER.public_key.blob)


def test_armor_is_the_one_of_ssh_keygen() -> None:
    lines = ARMORED.decode().split("\n")
    assert lines[0] == "-----BEGIN SSH SIGNATURE-----"
    assert lines[-2:] == ["-----END SSH SIGNATURE-----", ""]
    assert {len(line) for line in lines[1:-3]} == {70}
    assert is_canonical(ARMORED)
    assert encode_sshsig(parse_sshsig(ARMORED)) == ARMORED


@pytest.mark.parametrize(
    "other",
    [
        ARMORED + b"text after it",
        ARMORED[:-1],
        ARMORED.replace(b"U1NI", b"U1 \t\r\nNI", 1),
        ARMORED.replace(b"\n-----END", b"\n\n-----END"),
        encode_sshsig(
            SshSig(
                SIGNER.public_key, "file", "sha512", parse_sshsig(ARMORED).signature, b"reserved"
            )
        ),
    ],
)
def test_other_texts_of_a_signature_verify_but_are_not_canonical(other: bytes) -> None:
    assert verify(MESSAGE, other)
    assert not is_canonical(other)


def rearmor(blob: bytes) -> bytes:
    return (
        b"-----BEGIN SSH SIGNATURE-----\n"
        + base64.b64encode(blob)
        + b"\n-----END SSH SIGNATURE-----\n"
    )


BLOB = base64.b64decode(b"".join(ARMORED.splitlines()[1:-1]))


@pytest.mark.parametrize(
    "armored",
    [
        b"",
        b"junk",
        b" " + ARMORED,
        ARMORED.replace(b"\n", b"\r\n"),
        ARMORED.replace(b"END", b"end"),
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        ARMORED.replace(b"U1NI", b"U1N!", 1),
        ARMORED.replace(b"U1NI", b"U1==", 1),
        rearmor(b""),
        rearmor(b"SSHSIX" + BLOB[6:]),
        rearmor(BLOB + b"\0"),
        rearmor(BLOB).replace(b"\n-----END", b"=\n-----END"),
        encode_sshsig(SshSig(SIGNER.public_key, "", "sha512", b"")),
        encode_sshsig(SshSig(SIGNER.public_key, "a\0b", "sha512", b"")),
        ARMORED + b"x" * 2**20,
    ],
)
def test_bad_armor(armored: bytes) -> None:
    assert reason(MESSAGE, armored) == "bad_armor"
    assert not is_canonical(armored)
    with pytest.raises(WireError):
        parse_sshsig(armored)


def test_no_prefix_of_the_blob_parses() -> None:
    for size in range(len(BLOB)):
        with pytest.raises(WireError):
            parse_sshsig(rearmor(BLOB[:size]))


@pytest.mark.parametrize(
    "armored",
    [
        rearmor(BLOB[:6] + b"\0\0\0\x02" + BLOB[10:]),
        rearmor(BLOB.replace(b"sha512", b"sha384")),
        rearmor(BLOB.replace(b"ssh-ed25519", b"ssh-ed25510", 1)),
        rearmor(BLOB[: -len("ssh-ed25519") - 68] + b"ssh-ed25510" + BLOB[-68:]),
    ],
)
def test_unknown_version_hash_and_algorithms_are_unsupported(armored: bytes) -> None:
    assert reason(MESSAGE, armored) == "unsupported"


def test_each_refusal_has_its_reason() -> None:
    stranger = sign_message(MESSAGE, signer=Ed25519Signer(2), namespace="file")
    assert reason(b"other", ARMORED) == "signature_invalid"
    assert reason(MESSAGE, ARMORED, namespace="git") == "wrong_namespace"
    assert reason(MESSAGE, ARMORED, who="you@x") == "wrong_principal"
    assert reason(MESSAGE, stranger) == "unknown_signer"
    assert reason(MESSAGE, rearmor(BLOB[:-1] + bytes([BLOB[-1] ^ 1]))) == "signature_invalid"


def test_chunks_are_not_read_for_a_signature_that_cannot_hold() -> None:
    chunks = iter([b"hello"])
    assert reason(chunks, b"junk") == "bad_armor"
    assert next(chunks) == b"hello"


@pytest.mark.parametrize("namespace", ["", "a\0b"])
def test_namespace_is_required(namespace: str) -> None:
    with pytest.raises(WireError, match="namespace"):
        sign_message(MESSAGE, signer=SIGNER, namespace=namespace)


@pytest.mark.parametrize(
    "digest", [MessageDigest("sha256", bytes(32)), MessageDigest("sha512", b"")]
)
def test_digest_must_fit_the_hash(digest: MessageDigest) -> None:
    with pytest.raises(WireError, match="digest"):
        sign_message(digest, signer=SIGNER, namespace="file")


class RsaThatAnswersWithSha1:
    """What an old agent does: ssh-rsa whatever was asked for."""

    def __init__(self, key: PublicKey) -> None:
        self.public_key = key
        self.flags = -1

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        self.flags = flags
        return encode_string(b"ssh-rsa") + encode_string(data[:1] * 256)


@pytest.mark.parametrize(("hash_name", "flag"), [("sha256", 2), ("sha512", 4)])
def test_rsa_is_asked_for_the_matching_hash_and_sha1_is_refused(
    hash_name: HashName, flag: int
) -> None:
    blob = encode_string(b"ssh-rsa") + encode_string(b"\x01\0\x01") + encode_string(b"\0\xff")
    signer = RsaThatAnswersWithSha1(PublicKey("ssh-rsa", blob))
    with pytest.raises(UnsupportedError, match="ssh-rsa"):
        sign_message(MESSAGE, signer=signer, namespace="file", hash_name=hash_name)
    assert signer.flags == flag


def test_other_keys_are_asked_without_flags() -> None:
    assert set(SIGNER.flags) == {0}
