"""PuTTY's private keys, version 3: PuTTY User Manual, appendix C "PPK file format".

    PuTTY-User-Key-File-3: algorithm / Encryption: / Comment: / Public-Lines: n, base64
    Key-Derivation: Argon2id ... / Private-Lines: n, base64 / Private-MAC: HMAC-SHA-256 in hex

Version 2 derives its keys with one SHA-1 and is refused with the way to convert it. Rule for editors:
the MAC is checked before any private field is looked at, and costs are bounded before any is paid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.privkey.ciphers import wipe
from sshwire.privkey.fields import parse_private_fields
from sshwire.privkey.key import PrivateKey
from sshwire.pubkey import parse_public_key
from sshwire.wire import Reader, encode_mpint, encode_string, encode_text

MARK = b"PuTTY-User-Key-File-"

MAX_LINES = 20_000
MAX_MEMORY_KIB = 1024 * 1024
MAX_PASSES = 1000
MAX_LANES = 64
"""What Argon2 may cost: PuTTY chooses 8 MiB, about 13 passes and one lane."""

_MAC_BYTES = 32
_KEY_BYTES, _IV_BYTES = 32, 16


def is_ppk(data: bytes) -> bool:
    """Whether a file is PuTTY's."""
    return data.startswith(MARK)


def parse_ppk(data: bytes, passphrase: bytes | None) -> PrivateKey:
    """The key of a file; blocks for the derivation. A passphrase that is not needed is ignored."""
    fields = _parse_lines(data)
    algorithm, encryption = fields["algorithm"], fields["Encryption"]
    if encryption not in ("none", "aes256-cbc"):
        raise UnsupportedError(f"unknown encryption of a PuTTY key: {encryption[:32]!r}")
    public = parse_public_key(_decode(fields["Public-Lines"]))
    if public.algorithm != algorithm:
        raise WireError("the PuTTY key names one algorithm and holds another")
    clear, mac_key = _open(fields, encryption, passphrase)
    try:
        _check_mac(fields, public.blob, clear, mac_key, is_encrypted=encryption != "none")
        secret = _private_fields(algorithm, public.blob, clear)
    finally:
        wipe(clear)
    return parse_private_fields(Reader(secret), algorithm, fields["Comment"])


def _parse_lines(data: bytes) -> dict[str, str]:
    try:
        lines = iter(data.decode().splitlines()[:MAX_LINES])
    except UnicodeDecodeError as error:
        raise WireError("a PuTTY key that is not UTF-8") from error
    version, _, algorithm = next(lines, "").partition(": ")
    if version != "PuTTY-User-Key-File-3":
        hint = "puttygen FILE -O private --ppk-param version=3 converts it"
        raise UnsupportedError(f"a PuTTY key of another version than 3 ({hint})")
    fields = {"algorithm": algorithm, "Comment": ""}
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon:
            raise WireError("a PuTTY key with a line that is no field")
        if name in fields and name != "Comment":
            raise WireError(f"a PuTTY key with two fields {name[:32]!r}")
        fields[name] = _take_lines(lines, value) if name.endswith("-Lines") else value
    missing = {"Encryption", "Public-Lines", "Private-Lines", "Private-MAC"} - fields.keys()
    if missing:
        raise WireError(f"a PuTTY key without {min(missing)}")
    return fields


def _take_lines(lines: Iterator[str], count: str) -> str:
    if not count.isdecimal() or int(count) > MAX_LINES:
        raise WireError("a PuTTY key with a wrong number of lines")
    return "".join(next(lines, "") for _ in range(int(count)))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise WireError("a PuTTY key that is not base64") from error


def _open(
    fields: dict[str, str], encryption: str, passphrase: bytes | None
) -> tuple[bytearray, bytes]:
    """The private part in clear, and the key of its MAC."""
    private = _decode(fields["Private-Lines"])
    if encryption == "none":
        return bytearray(private), b""
    if passphrase is None:
        raise PassphraseError("the key is encrypted, and no passphrase was given")
    if not private or len(private) % _IV_BYTES:
        raise WireError("the private part of a PuTTY key is not in whole blocks")
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    derived = _derive(fields, passphrase)
    key, rest = derived[:_KEY_BYTES], derived[_KEY_BYTES:]
    decryptor = Cipher(AES(key), CBC(rest[:_IV_BYTES])).decryptor()
    return bytearray(decryptor.update(private) + decryptor.finalize()), rest[_IV_BYTES:]


def _derive(fields: dict[str, str], passphrase: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf import argon2

    memory = _number(fields, "Argon2-Memory", MAX_MEMORY_KIB)
    passes = _number(fields, "Argon2-Passes", MAX_PASSES)
    lanes = _number(fields, "Argon2-Parallelism", MAX_LANES)
    flavour = fields.get("Key-Derivation", "")
    known: Any = getattr(argon2, flavour, None) if flavour.startswith("Argon2") else None
    if known is None:
        raise UnsupportedError(f"unknown key derivation of a PuTTY key: {flavour[:32]!r}")
    try:
        salt = bytes.fromhex(fields.get("Argon2-Salt", ""))
        kdf = known(
            salt=salt,
            length=_KEY_BYTES + _IV_BYTES + _MAC_BYTES,
            iterations=passes,
            lanes=lanes,
            memory_cost=memory,
        )
        return bytes(kdf.derive(passphrase))
    except UnsupportedAlgorithm as error:
        raise UnsupportedError("this build of OpenSSL has no Argon2") from error
    except ValueError as error:
        raise WireError("a PuTTY key with impossible Argon2 parameters") from error


def _number(fields: dict[str, str], name: str, most: int) -> int:
    text = fields.get(name, "")
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise WireError(f"{name} of a PuTTY key is not between 1 and {most}")
    return int(text)


def _check_mac(
    fields: dict[str, str], public: bytes, clear: bytearray, mac_key: bytes, *, is_encrypted: bool
) -> None:
    covered = (
        encode_text(fields["algorithm"])
        + encode_text(fields["Encryption"])
        + encode_text(fields["Comment"])
        + encode_string(public)
        + encode_string(clear)
    )
    mac = hmac.new(mac_key, covered, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(mac, fields["Private-MAC"].lower()):
        if is_encrypted:
            raise PassphraseError("wrong passphrase, or the file is damaged")
        raise WireError("the MAC of the PuTTY key does not match")


def _private_fields(algorithm: str, public: bytes, clear: bytearray) -> bytes:
    """The same key with its fields in the order of openssh-key-v1, without its algorithm."""
    theirs, ours = Reader(public), Reader(clear)
    theirs.string()
    if algorithm == "ssh-rsa":
        e, n = theirs.mpint(), theirs.mpint()
        d, p, q, iqmp = (ours.mpint() for _ in range(4))
        return b"".join(map(encode_mpint, (n, e, d, iqmp, p, q)))
    if algorithm == "ssh-ed25519":
        point = theirs.string()
        return encode_string(point) + encode_string(ours.string() + point)
    if algorithm.startswith("ecdsa-sha2-"):
        return (
            encode_string(theirs.string())
            + encode_string(theirs.string())
            + encode_mpint(ours.mpint())
        )
    raise UnsupportedError(f"a PuTTY key of type {algorithm[:64]!r}")
