"""What protects a private key at rest: PROTOCOL.key, bcrypt_pbkdf, and the ciphers of ssh-keygen -Z.

Rule for editors: a cipher is a row; derived keys and decrypted buffers are bytearrays, and whoever
made one overwrites it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.wire import Reader, encode_string, encode_uint32

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, GCM

MAX_KDF_ROUNDS = 1024
"""ssh-keygen -a allows INT_MAX, months of work; its default is 16, and 1024 take ten seconds."""

DEFAULT_KDF_ROUNDS = 24
"""What we write; OpenSSH 9.2 writes 16."""

SALT_BYTES = 16
"""What ssh-keygen writes."""

MAX_SALT_BYTES = 64
"""Four times what ssh-keygen writes."""

Mode = Literal["none", "ctr", "cbc", "gcm", "chachapoly", "3des-cbc"]


@dataclass(frozen=True, slots=True)
class CipherRow:
    """One cipher by its name in the file, with the sizes that OpenSSH's cipher.c gives it."""

    name: str
    mode: Mode
    key_bytes: int
    iv_bytes: int
    block_bytes: int
    tag_bytes: int = 0

    @property
    def is_written(self) -> bool:
        """Whether we encrypt with it; the others are only read."""
        return self.mode in {"none", "ctr", "cbc"}


_ROWS = (
    CipherRow("none", "none", 0, 0, 8),
    *(CipherRow(f"aes{bits}-ctr", "ctr", bits // 8, 16, 16) for bits in (128, 192, 256)),
    *(CipherRow(f"aes{bits}-cbc", "cbc", bits // 8, 16, 16) for bits in (128, 192, 256)),
    *(CipherRow(f"aes{bits}-gcm@openssh.com", "gcm", bits // 8, 12, 16, 16) for bits in (128, 256)),
    CipherRow("chacha20-poly1305@openssh.com", "chachapoly", 64, 0, 8, 16),
    CipherRow("3des-cbc", "3des-cbc", 24, 8, 8),
)

CIPHERS: Mapping[str, CipherRow] = MappingProxyType({row.name: row for row in _ROWS})


def find_cipher(name: str) -> CipherRow:
    """The row of a cipher, or `UnsupportedError`."""
    row = CIPHERS.get(name)
    if row is None:
        raise UnsupportedError(f"unknown private key cipher: {name[:64]!r}")
    return row


def wipe(buffer: bytearray) -> None:
    """Overwrite a secret in place."""
    buffer[:] = bytes(len(buffer))


def parse_kdf_options(options: bytes) -> tuple[bytes, int]:
    """Salt and rounds of the `bcrypt` key derivation: `string salt, uint32 rounds`."""
    reader = Reader(options)
    salt, rounds = reader.string(MAX_SALT_BYTES), reader.uint32()
    reader.finish()
    check_kdf_rounds(rounds)
    if not salt:
        raise WireError("empty salt")
    return salt, rounds


def encode_kdf_options(salt: bytes, rounds: int) -> bytes:
    """The options of the `bcrypt` key derivation."""
    return encode_string(salt) + encode_uint32(rounds)


def check_kdf_rounds(rounds: int) -> None:
    """Refuse a derivation that never happens or never ends."""
    if rounds < 1:
        raise WireError("a key derivation needs at least one round")
    if rounds > MAX_KDF_ROUNDS:
        raise UnsupportedError(f"{rounds} bcrypt rounds are over the limit of {MAX_KDF_ROUNDS}")


def derive_key(row: CipherRow, passphrase: bytes, salt: bytes, rounds: int) -> bytearray:
    """Key and IV of a cipher from a passphrase; blocks for about 10 ms a round."""
    import bcrypt

    if not passphrase:
        raise PassphraseError("the key is encrypted, and the passphrase is empty")
    size = row.key_bytes + row.iv_bytes
    return bytearray(bcrypt.kdf(passphrase, salt, size, rounds, ignore_few_rounds=True))


def decrypt(row: CipherRow, secret: bytearray, data: bytes, tag: bytes) -> bytearray:
    """The clear bytes of `data`; a tag that does not hold is a `PassphraseError`."""
    from cryptography.exceptions import InvalidSignature, InvalidTag

    try:
        if row.mode == "chachapoly":
            return _decrypt_chachapoly(secret, data, tag)
        return _decrypt_block(row, secret, data, tag)
    except (InvalidSignature, InvalidTag) as error:
        raise PassphraseError("wrong passphrase, or the file is damaged") from error


def encrypt(row: CipherRow, secret: bytearray, data: bytearray) -> bytes:
    """The encrypted bytes of `data`; for a cipher that `is_written`."""
    encryptor = _block_cipher(row, secret, b"").encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _block_cipher(
    row: CipherRow, secret: bytearray, tag: bytes
) -> Cipher[CTR] | Cipher[CBC] | Cipher[GCM]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key, iv = secret[: row.key_bytes], bytes(secret[row.key_bytes :])
    if row.mode == "ctr":
        return Cipher(algorithms.AES(key), modes.CTR(iv))
    if row.mode == "gcm":
        return Cipher(algorithms.AES(key), modes.GCM(iv, tag))
    if row.mode == "cbc":
        return Cipher(algorithms.AES(key), modes.CBC(iv))
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES

    return Cipher(TripleDES(bytes(key)), modes.CBC(iv))


def _decrypt_block(row: CipherRow, secret: bytearray, data: bytes, tag: bytes) -> bytearray:
    decryptor = _block_cipher(row, secret, tag).decryptor()
    clear = bytearray(len(data) + row.block_bytes)  # the library wants room for one block more
    try:
        written = decryptor.update_into(data, clear)
        decryptor.finalize()
    except BaseException:
        wipe(clear)
        raise
    del clear[written:]
    return clear


def _decrypt_chachapoly(secret: bytearray, data: bytes, tag: bytes) -> bytearray:
    """PROTOCOL.chacha20poly1305 with sequence number 0, no length field: only its first key is used."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    key = bytes(secret[:32])
    mac_key = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(32))
    Poly1305.verify_tag(mac_key, data, tag)
    block_one = (1).to_bytes(8, "little") + bytes(8)
    clear = bytearray(len(data))
    Cipher(algorithms.ChaCha20(key, block_one), None).decryptor().update_into(data, clear)
    return clear
