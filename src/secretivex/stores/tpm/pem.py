"""Sealed TPM keys as files: TSS2 PRIVATE KEY in PEM, as openssl's TPM providers and others read it.

    TPMKey ::= SEQUENCE { type OBJECT IDENTIFIER (2.23.133.10.1.3), emptyAuth [0] BOOLEAN OPTIONAL,
      policy [1], secret [2], authPolicy [3], description [4], rsaParent [5] (all OPTIONAL),
      parent INTEGER, pubkey OCTET STRING, privkey OCTET STRING }

Source: draft-bottomley-tpm2-keys. Rule for editors: a file with a policy or a secret is refused, for we
could not keep to it; what is written has nothing that older readers do not know.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import OWNER, SealedKey, TpmReader, sized

BEGIN = b"-----BEGIN TSS2 PRIVATE KEY-----"
END = b"-----END TSS2 PRIVATE KEY-----"

LOADABLE = bytes.fromhex("0606678105 0a0103")
"""DER of id-loadablekey, 2.23.133.10.1.3."""

MAX_FILE_BYTES = 64 * 1024

_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_EMPTY_AUTH = 0xA0
_DESCRIPTION, _RSA_PARENT = 0xA4, 0xA5


@dataclass(frozen=True, slots=True)
class TpmKeyFile:
    """A sealed key, under which parent it opens, and whether it needs no password."""

    key: SealedKey
    parent: int = OWNER
    empty_auth: bool = True
    description: str = ""


def encode_key_file(file: TpmKeyFile) -> bytes:
    """As PEM."""
    body = LOADABLE
    if file.empty_auth:
        body += _tlv(_EMPTY_AUTH, bytes.fromhex("0101ff"))
    parent = file.parent.to_bytes(4, "big").lstrip(b"\0")
    if parent[0] & 0x80:
        parent = b"\0" + parent
    body += _tlv(_INTEGER, parent)
    body += _tlv(_OCTETS, sized(file.key.public)) + _tlv(_OCTETS, sized(file.key.private))
    text = base64.b64encode(_tlv(_SEQUENCE, body))
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join((BEGIN, *lines, END, b""))


def parse_key_file(data: bytes) -> TpmKeyFile:
    """The key of a file; raises `TokenError`."""
    start, end = data.find(BEGIN), data.find(END)
    if start < 0 or end < start or len(data) > MAX_FILE_BYTES:
        raise TokenError("not_a_key", "no TSS2 private key")
    try:
        der = base64.b64decode(b"".join(data[start + len(BEGIN) : end].split()), validate=True)
    except binascii.Error as error:
        raise TokenError("not_a_key", "a TSS2 private key that is not base64") from error
    fields = _Der(_Der(der).take(_SEQUENCE))
    if not fields.rest.startswith(LOADABLE):
        raise TokenError("unsupported", "a TSS2 key of another kind than a loadable one")
    fields.skip(len(LOADABLE))
    empty_auth, description = False, ""
    while fields.tag >= _EMPTY_AUTH:
        tag, value = fields.tag, fields.take(fields.tag)
        if tag == _EMPTY_AUTH:
            empty_auth = value[-1:] != b"\0"
        elif tag == _DESCRIPTION:
            description = _Der(value).take(value[0] if value else 0).decode(errors="replace")
        elif tag != _RSA_PARENT or value[-1:] != b"\0":
            raise TokenError("unsupported", "a TSS2 key with a policy, a secret or an RSA parent")
    parent = int.from_bytes(fields.take(_INTEGER), "big")
    public = TpmReader(fields.take(_OCTETS)).sized()
    private = TpmReader(fields.take(_OCTETS)).sized()
    return TpmKeyFile(SealedKey(public, private), parent, empty_auth, description)


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


class _Der:
    """Takes values off the front of DER; raises `TokenError`."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    @property
    def tag(self) -> int:
        """The next value's tag; 0 at the end."""
        return self.rest[0] if self.rest else 0

    def skip(self, size: int) -> None:
        """Let so many bytes go by."""
        self.rest = self.rest[size:]

    def take(self, tag: int) -> bytes:
        """The next value, which must have this tag."""
        bad = TokenError("not_a_key", "a TSS2 private key that is not DER")
        if len(self.rest) < 2 or self.rest[0] != tag:
            raise bad
        size, start = self.rest[1], 2
        if size & 0x80:
            start = 2 + (size & 0x7F)
            if not 3 <= start <= 5 or len(self.rest) < start:
                raise bad
            size = int.from_bytes(self.rest[2:start], "big")
        if len(self.rest) < start + size:
            raise bad
        value, self.rest = self.rest[start : start + size], self.rest[start + size :]
        return value
