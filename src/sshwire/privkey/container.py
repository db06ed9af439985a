"""The openssh-key-v1 file: PROTOCOL.key.

    "openssh-key-v1" NUL, string cipher, string kdf, string kdf options, uint32 number of keys,
    string public key, string private section, (authentication tag)
    private section: uint32 check, uint32 check again, fields, string comment, bytes 1 2 3 ... padding

OpenSSH writes and reads one key a file, and so do we. Rule for editors: the clear private section
lives in a bytearray that is overwritten before the function that made it returns.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field

from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.keyblob import MAX_ALGORITHM_NAME_BYTES, PublicKey
from sshwire.privkey import ciphers
from sshwire.privkey.ciphers import CipherRow, find_cipher, wipe
from sshwire.privkey.fields import encode_private_fields, parse_private_fields
from sshwire.privkey.key import PrivateKey
from sshwire.pubkey import parse_public_key
from sshwire.wire import Reader, encode_string, encode_text, encode_uint32

MAX_PRIVATE_FILE_BYTES = 1024 * 1024
"""OpenSSH's MAX_KEY_FILE_SIZE."""

MAX_PADDING_BYTES = 255
"""Padding counts up in single bytes."""

_MAGIC = b"openssh-key-v1\x00"
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_LINE_CHARS = 70

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """A key file taken apart but not decrypted: the public half is known without a passphrase."""

    public: PublicKey
    cipher: CipherRow
    salt: bytes = field(repr=False)
    rounds: int
    section: bytes = field(repr=False)
    tag: bytes = field(repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self.cipher.mode != "none"


def parse_private_keys(data: bytes, *, passphrase: bytes | None = None) -> tuple[PrivateKey, ...]:
    """The keys of a file, of which there is one; a passphrase that is not needed is ignored."""
    return (decrypt_private_file(parse_private_file(data), passphrase),)


def parse_private_file(data: bytes) -> PrivateFile:
    """Everything of a key file that can be read without its passphrase."""
    if len(data) > MAX_PRIVATE_FILE_BYTES:
        raise WireError(f"private key file over the limit of {MAX_PRIVATE_FILE_BYTES} bytes")
    reader = Reader(_decode_armor(data))
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise WireError("not an openssh-key-v1 file")
    cipher = find_cipher(reader.text(MAX_ALGORITHM_NAME_BYTES))
    salt, rounds = _read_kdf(reader, cipher)
    if (count := reader.uint32()) != 1:
        raise UnsupportedError(f"a file of {count} keys; OpenSSH and we read files of one")
    public = parse_public_key(reader.string())
    section = reader.string(MAX_PRIVATE_FILE_BYTES)
    if not section or len(section) % cipher.block_bytes:
        raise WireError(f"private section of {len(section)} bytes: not in whole blocks")
    tag = reader.take(cipher.tag_bytes)
    reader.finish()
    return PrivateFile(public, cipher, salt, rounds, section, tag)


def decrypt_private_file(file: PrivateFile, passphrase: bytes | None = None) -> PrivateKey:
    """The private key of a file; `PassphraseError` without its passphrase. Blocks for the derivation."""
    if not file.is_encrypted:
        clear = bytearray(file.section)
    elif passphrase is None:
        raise PassphraseError("the key is encrypted, and no passphrase was given")
    else:
        clear = _decrypt(file, passphrase)
    try:
        return _parse_section(clear, file)
    finally:
        wipe(clear)


def encode_private_key(
    key: PrivateKey,
    *,
    random_bytes: RandomBytes,
    passphrase: bytes | None = None,
    rounds: int = ciphers.DEFAULT_KDF_ROUNDS,
    cipher: str = "aes256-ctr",
) -> bytes:
    """An openssh-key-v1 file, encrypted if there is a passphrase; blocks for the derivation.

    `random_bytes` is a source fit for secrets, such as `secrets.token_bytes`.
    """
    row = find_cipher("none" if passphrase is None else cipher)
    if not row.is_written or (passphrase is not None and row.mode == "none"):
        raise UnsupportedError(f"cannot encrypt with {row.name}: use aes256-ctr")
    clear = _encode_section(key, random_bytes(4), row.block_bytes)
    try:
        if passphrase is None:
            section, options = bytes(clear), b""
        else:
            salt = random_bytes(ciphers.SALT_BYTES)
            section, options = _encrypt(row, clear, passphrase, salt, rounds)
    finally:
        wipe(clear)
    return _encode_armor(
        _MAGIC
        + encode_text(row.name)
        + encode_text("bcrypt" if options else "none")
        + encode_string(options)
        + encode_uint32(1)
        + encode_string(key.public.blob)
        + encode_string(section)
    )


def _read_kdf(reader: Reader, cipher: CipherRow) -> tuple[bytes, int]:
    name, options = reader.text(MAX_ALGORITHM_NAME_BYTES), reader.string()
    if name not in {"none", "bcrypt"}:
        raise UnsupportedError(f"unknown key derivation: {name!r}")
    if (name == "none") != (cipher.mode == "none"):
        raise WireError(f"cipher {cipher.name} with key derivation {name}")
    if name == "bcrypt":
        return ciphers.parse_kdf_options(options)
    if options:
        raise WireError("key derivation none with options")
    return b"", 0


def _decrypt(file: PrivateFile, passphrase: bytes) -> bytearray:
    secret = ciphers.derive_key(file.cipher, passphrase, file.salt, file.rounds)
    try:
        return ciphers.decrypt(file.cipher, secret, file.section, file.tag)
    finally:
        wipe(secret)


def _encrypt(
    row: CipherRow, clear: bytearray, passphrase: bytes, salt: bytes, rounds: int
) -> tuple[bytes, bytes]:
    """The private section and the options of the key derivation."""
    ciphers.check_kdf_rounds(rounds)
    secret = ciphers.derive_key(row, passphrase, salt, rounds)
    try:
        return ciphers.encrypt(row, secret, clear), ciphers.encode_kdf_options(salt, rounds)
    finally:
        wipe(secret)


def _parse_section(clear: bytearray, file: PrivateFile) -> PrivateKey:
    reader = Reader(clear)
    if reader.take(4) != reader.take(4):
        if file.is_encrypted:
            raise PassphraseError("wrong passphrase, or the file is damaged")
        raise WireError("the check numbers of the private section differ")
    algorithm = reader.text(MAX_ALGORITHM_NAME_BYTES)
    key = parse_private_fields(reader, algorithm)
    comment = reader.string().decode(errors="backslashreplace")  # nobody promised UTF-8
    if reader.remaining > MAX_PADDING_BYTES:
        raise WireError(f"more than {MAX_PADDING_BYTES} bytes of padding")
    padding = reader.rest()
    if padding != bytes(range(1, len(padding) + 1)):
        raise WireError("padding of the private section is not 1, 2, 3 ...")
    if key.public != file.public:
        raise WireError("the file's public key is not that of its private key")
    return PrivateKey(key.public, comment, key.secret)


def _encode_section(key: PrivateKey, check: bytes, block_bytes: int) -> bytearray:
    clear = bytearray(check + check)
    clear += encode_private_fields(key)
    clear += encode_text(key.comment)
    clear += bytes(range(1, -len(clear) % block_bytes + 1))
    return clear


def _decode_armor(data: bytes) -> bytes:
    """What stands in base64 between the two marks; only white space may stand around them."""
    text = data.strip()
    if not text.startswith(_BEGIN):
        raise UnsupportedError("not an OpenSSH private key (ssh-keygen -p -f FILE converts others)")
    if not text.endswith(_END):
        raise WireError("the private key's last line is missing")
    body = b"".join(text[len(_BEGIN) : -len(_END)].split())
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise WireError("private key is not base64") from error


def _encode_armor(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = (text[start : start + _LINE_CHARS] for start in range(0, len(text), _LINE_CHARS))
    return b"\n".join((_BEGIN, *lines, _END, b""))
