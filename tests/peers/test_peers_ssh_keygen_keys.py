"""ssh-keygen and ssh-agent agree with `sshwire` on keys, certificates and signatures, both ways."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from sshwire.cert import parse_certificate, verify_certificate_signature
from sshwire.errors import VerificationError
from sshwire.privkey import (
    PrivateKey,
    SecurityKeyHandle,
    encode_private_fields,
    encode_private_key,
    parse_private_keys,
)
from sshwire.privkey.ciphers import CIPHERS
from sshwire.pubkey import (
    PublicKey,
    encode_public_line,
    fingerprint,
    md5_fingerprint,
    parse_public_key,
    parse_public_line,
)
from sshwire.signature import Signature, encode_ecdsa, encode_signature, verify_signature
from sshwire.wire import Reader, encode_string, encode_text, encode_uint32, encode_uint64

Keygen = Callable[..., str]

KINDS = ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-1024", "rsa-2048"]


@pytest.fixture
def keygen(require_program: Callable[[str], str]) -> Keygen:
    program = require_program("ssh-keygen")

    def run(*arguments: str | Path, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [program, *map(str, arguments)], input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


def make_key(keygen: Keygen, path: Path, kind: str, *options: str) -> PrivateKey:
    name, _, bits = kind.partition("-")
    size = ["-b", bits] if bits else []
    keygen("-q", "-t", name, *size, "-N", "", "-C", f"a key of {kind}", *options, "-f", path)
    (key,) = parse_private_keys(path.read_bytes())
    return key


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_fingerprints_agree(kind: str, keygen: Keygen, tmp_path: Path) -> None:
    key = make_key(keygen, tmp_path / "key", kind)
    line = (tmp_path / "key.pub").read_text()
    assert parse_public_line(line) == (key.public, key.comment)
    assert encode_public_line(key.public, key.comment) == line.rstrip("\n")
    for hash_name in ("sha256", "sha512"):
        printed = keygen("-l", "-E", hash_name, "-f", tmp_path / "key.pub")
        assert printed.split()[1] == fingerprint(key.public.blob, hash_name)
    printed = keygen("-l", "-E", "md5", "-f", tmp_path / "key.pub")
    assert printed.split()[1] == md5_fingerprint(key.public.blob)


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_reads_what_we_write(kind: str, keygen: Keygen, tmp_path: Path) -> None:
    key = make_key(keygen, tmp_path / "key", kind)
    line = (tmp_path / "key.pub").read_text()
    for passphrase in (None, b"a pass phrase"):
        ours = tmp_path / f"ours-{passphrase is None}"
        ours.touch(0o600)
        ours.write_bytes(
            encode_private_key(
                key, random_bytes=secrets.token_bytes, passphrase=passphrase, rounds=2
            )
        )
        assert keygen("-y", "-P", (passphrase or b"").decode(), "-f", ours) == line


@pytest.mark.parametrize("cipher", [row.name for row in CIPHERS.values() if row.is_written])
def test_ssh_keygen_opens_every_cipher_we_write(
    cipher: str, keygen: Keygen, tmp_path: Path
) -> None:
    key = make_key(keygen, tmp_path / "key", "ed25519")
    ours = tmp_path / "ours"
    ours.touch(0o600)
    passphrase = None if cipher == "none" else b"pw"
    ours.write_bytes(
        encode_private_key(
            key, random_bytes=secrets.token_bytes, passphrase=passphrase, rounds=2, cipher=cipher
        )
    )
    keygen("-q", "-p", "-P", "pw" if passphrase else "", "-N", "", "-f", ours)
    (back,) = parse_private_keys(ours.read_bytes())
    assert back.public == key.public


def test_we_open_every_cipher_that_ssh_keygen_writes(
    require_program: Callable[[str], str], keygen: Keygen, tmp_path: Path
) -> None:
    listing = subprocess.run(
        [require_program("ssh"), "-Q", "cipher"], capture_output=True, text=True, check=True
    )
    ciphers = listing.stdout.split()
    assert set(ciphers) <= set(CIPHERS)
    for cipher in ciphers:
        path = tmp_path / cipher
        keygen("-q", "-t", "ed25519", "-N", "pw", "-Z", cipher, "-a", "2", "-f", path)
        (key,) = parse_private_keys(path.read_bytes(), passphrase=b"pw")
        assert parse_public_line(path.with_name(f"{cipher}.pub").read_text())[0] == key.public


@pytest.mark.parametrize("ca", KINDS)
def test_certificates_agree(ca: str, keygen: Keygen, tmp_path: Path) -> None:
    make_key(keygen, tmp_path / "ca", ca)
    key = make_key(keygen, tmp_path / "key", "ecdsa-256")
    keygen(
        *("-q", "-s", tmp_path / "ca", "-I", "the id", "-n", "alice,bob", "-z", "77"),
        *("-V", "0x0:0x70000000", "-O", "force-command=/bin/true", tmp_path / "key.pub"),
    )
    path = tmp_path / "key-cert.pub"
    public, comment = parse_public_line(path.read_text())
    certificate = parse_certificate(public.blob)
    verify_certificate_signature(certificate)
    assert comment == key.comment
    assert certificate.public_key == key.public
    assert (certificate.key_id, certificate.serial) == ("the id", 77)
    assert (certificate.principals, certificate.valid_before) == (("alice", "bob"), 0x70000000)
    assert certificate.critical_options == (("force-command", encode_text("/bin/true")),)
    printed = keygen("-L", "-f", path)
    assert all(name in printed for name, _ in certificate.extensions)
    assert fingerprint(certificate.signature_key.blob) in printed
    assert keygen("-l", "-f", path).split()[1] == fingerprint(public.blob)


# SSHSIG by hand (PROTOCOL.sshsig), so that this file owes nothing to `sshwire.sshsig`.


def sshsig_bytes(message: bytes) -> bytes:
    digest = hashlib.sha512(message).digest()
    return (
        b"SSHSIG"
        + encode_text("file")
        + encode_text("")
        + encode_text("sha512")
        + encode_string(digest)
    )


def sshsig_file(key: PublicKey, signature: bytes) -> str:
    blob = (
        b"SSHSIG"
        + encode_uint32(1)
        + encode_string(key.blob)
        + encode_text("file")
        + encode_text("")
        + encode_text("sha512")
        + encode_string(signature)
    )
    body = "\n".join(textwrap.wrap(base64.b64encode(blob).decode(), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"


def verify_with_ssh_keygen(
    keygen: Keygen, folder: Path, key: PublicKey, signature: bytes, message: bytes
) -> str:
    (folder / "allowed").write_text(f"someone {encode_public_line(key)}\n")
    (folder / "sig").write_text(sshsig_file(key, signature))
    return keygen(
        *("-Y", "verify", "-n", "file", "-I", "someone"),
        *("-f", folder / "allowed", "-s", folder / "sig"),
        stdin=message,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [0, 2, 4])
def test_ssh_keygen_verifies_what_we_sign(
    kind: str, flags: int, keygen: Keygen, tmp_path: Path
) -> None:
    key = make_key(keygen, tmp_path / "key", kind)
    signature = key.sign(sshsig_bytes(b"a message"), flags)
    assert "Good" in verify_with_ssh_keygen(keygen, tmp_path, key.public, signature, b"a message")


def software_security_key(name: str) -> tuple[PublicKey, Callable[[bytes], bytes]]:
    """A security key without a device: PROTOCOL.u2f, touched, counter 9."""
    if "ed25519" in name:
        ed25519 = Ed25519PrivateKey.generate()
        fields = encode_string(ed25519.public_key().public_bytes_raw())

        def sign(data: bytes) -> bytes:
            return ed25519.sign(data)

    else:
        ecdsa = ec.generate_private_key(ec.SECP256R1())
        numbers = ecdsa.public_key().public_numbers()
        point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        fields = encode_text("nistp256") + encode_string(point)

        def sign(data: bytes) -> bytes:
            return encode_ecdsa(*decode_dss_signature(ecdsa.sign(data, ec.ECDSA(SHA256()))))

    def sign_as_device(data: bytes) -> bytes:
        application = hashlib.sha256(b"ssh:").digest()
        signed = application + b"\x01" + encode_uint32(9) + hashlib.sha256(data).digest()
        return encode_signature(Signature(name, sign(signed), 1, 9))

    key = parse_public_key(encode_text(name) + fields + encode_text("ssh:"))
    return key, sign_as_device


SECURITY_KEYS = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]


@pytest.mark.parametrize("name", SECURITY_KEYS)
def test_security_key_signatures_mean_the_same_to_ssh_keygen(
    name: str, keygen: Keygen, tmp_path: Path
) -> None:
    key, sign = software_security_key(name)
    message = sshsig_bytes(b"a message")
    signature = sign(message)
    verify_signature(key, signature, message)
    assert "Good" in verify_with_ssh_keygen(keygen, tmp_path, key, signature, b"a message")
    with pytest.raises(VerificationError):
        verify_signature(key, signature, message + b".")


@pytest.mark.parametrize("name", SECURITY_KEYS)
def test_ssh_keygen_reads_the_security_key_files_we_write(
    name: str, keygen: Keygen, tmp_path: Path
) -> None:
    public, _ = software_security_key(name)
    key = PrivateKey(public, "device", SecurityKeyHandle(1, b"handle"))
    ours = tmp_path / "ours"
    ours.touch(0o600)
    ours.write_bytes(encode_private_key(key, random_bytes=secrets.token_bytes))
    assert keygen("-y", "-f", ours).split()[:2] == encode_public_line(public).split()
    keygen("-q", "-p", "-N", "pw", "-a", "2", "-f", ours)
    (back,) = parse_private_keys(ours.read_bytes(), passphrase=b"pw")
    assert (back.public, back.comment, back.secret) == (public, "device", key.secret)


# ssh-agent: the fields of an ADD message and raw signatures.


@pytest.fixture
def ask_agent(
    require_program: Callable[[str], str], tmp_path: Path
) -> Iterator[Callable[[bytes], bytes]]:
    address = tmp_path / "agent"
    agent = subprocess.Popen(
        [require_program("ssh-agent"), "-D", "-a", str(address)], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    agent.stdout.readline()  # printed once the socket is there

    def ask(message: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(address))
            client.sendall(encode_string(message))
            with client.makefile("rb") as stream:
                return stream.read(int.from_bytes(stream.read(4), "big"))

    yield ask
    agent.terminate()
    agent.communicate(timeout=60)


def certify(plain: PublicKey, ca: PrivateKey) -> PublicKey:
    """A certificate of any plain key, security keys too, which ssh-keygen cannot make here."""
    name = plain.algorithm.removesuffix("@openssh.com") + "-cert-v01@openssh.com"
    body = (
        encode_text(name)
        + encode_string(secrets.token_bytes(32))
        + plain.blob[len(encode_text(plain.algorithm)) :]
        + encode_uint64(1)
        + encode_uint32(1)
        + encode_text("id")
        + encode_string(b"")
        + encode_uint64(0)
        + encode_uint64(2**64 - 1)
        + encode_string(b"") * 3
        + encode_string(ca.public.blob)
    )
    return parse_public_key(body + encode_string(ca.sign(body)))


def identities(reply: bytes) -> dict[bytes, bytes]:
    reader = Reader(reply[1:])
    found = {reader.string(): reader.string() for _ in range(reader.uint32())}
    reader.finish()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_agent_takes_our_private_fields_and_signs_what_we_verify(
    kind: str, keygen: Keygen, ask_agent: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    plain = make_key(keygen, tmp_path / "key", kind)
    for key in (plain, plain.with_certificate(certify(plain.public, plain))):
        added = b"\x11" + encode_private_fields(key) + encode_text(key.comment)
        assert ask_agent(added) == b"\x06"
        assert identities(ask_agent(b"\x0b"))[key.public.blob] == key.comment.encode()
        request = encode_string(key.public.blob) + encode_string(b"data") + encode_uint32(4)
        reply = Reader(ask_agent(b"\x0d" + request))
        assert reply.byte() == 14
        verify_signature(key.public, reply.string(), b"data")


@pytest.mark.parametrize("name", SECURITY_KEYS)
def test_ssh_agent_takes_our_security_key_fields(
    name: str, keygen: Keygen, ask_agent: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    ca = make_key(keygen, tmp_path / "ca", "ed25519")
    public, _ = software_security_key(name)
    plain = PrivateKey(public, "device", SecurityKeyHandle(1, b"handle"))
    for key in (plain, plain.with_certificate(certify(public, ca))):
        provider = b"\xff" + encode_text("sk-provider@openssh.com") + encode_text("internal")
        added = b"\x19" + encode_private_fields(key) + encode_text("device") + provider
        assert ask_agent(added) == b"\x06"
        assert key.public.blob in identities(ask_agent(b"\x0b"))
