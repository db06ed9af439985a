"""OpenSSH private keys: PROTOCOL.key's `openssh-key-v1` files and the fields of an agent's ADD.

`key` is what a private key is and how it signs, `fields` its encoding, `ciphers` what protects it at
rest, `container` the file. Python cannot promise that a secret leaves no copy behind: decrypted
buffers are overwritten here, but the integers of an RSA or ECDSA key and the output of bcrypt pass
through objects that only the garbage collector can reach.
"""

from sshwire.privkey.anyfile import parse_private_key
from sshwire.privkey.ciphers import DEFAULT_KDF_ROUNDS, MAX_KDF_ROUNDS
from sshwire.privkey.container import (
    MAX_PRIVATE_FILE_BYTES,
    PrivateFile,
    decrypt_private_file,
    encode_private_key,
    parse_private_file,
    parse_private_keys,
)
from sshwire.privkey.fields import encode_private_fields, parse_private_fields, parse_stated_public
from sshwire.privkey.key import PrivateKey, SecurityKeyHandle

__all__ = [
    "DEFAULT_KDF_ROUNDS",
    "MAX_KDF_ROUNDS",
    "MAX_PRIVATE_FILE_BYTES",
    "PrivateFile",
    "PrivateKey",
    "SecurityKeyHandle",
    "decrypt_private_file",
    "encode_private_fields",
    "encode_private_key",
    "parse_private_fields",
    "parse_private_file",
    "parse_private_key",
    "parse_private_keys",
    "parse_stated_public",
]
