"""The TPM 2.0 commands that keys need, as bytes: TPM 2.0 Library, parts 2 (structures) and 3 (commands).

    command:  uint16 tag, uint32 size, uint32 code, handles, (uint32 size, sessions), parameters
    response: uint16 tag, uint32 size, uint32 code, handles, (uint32 size), parameters, (sessions)

Authorisation is by password sessions. Rule for editors: nothing here does input or output; every
length from the TPM is checked by the reader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from secretivex.stores.token.errors import TokenError

OWNER, NULL_HIERARCHY, PASSWORD = 0x40000001, 0x40000007, 0x40000009
"""TPM_RH_OWNER, TPM_RH_NULL, TPM_RS_PW."""

NO_SESSIONS, SESSIONS, HASHCHECK = 0x8001, 0x8002, 0x8024

RSA, SHA256, SHA512, AES, NULL = 0x0001, 0x000B, 0x000D, 0x0006, 0x0010
RSASSA, ECDSA, ECC, CFB, P256 = 0x0014, 0x0018, 0x0023, 0x0043, 0x0003

FIXED_TPM, FIXED_PARENT, DATA_ORIGIN, WITH_AUTH, NO_LOCKOUT = 0x2, 0x10, 0x20, 0x40, 0x400
RESTRICTED, DECRYPT, SIGN = 0x10000, 0x20000, 0x40000

MAX_RESPONSE_BYTES = 4096
"""The least that a resource manager must be able to pass on, and the most that TPMs answer."""


class Command(IntEnum):
    """TPM_CC."""

    CREATE_PRIMARY = 0x131
    STARTUP = 0x144
    CREATE = 0x153
    IMPORT = 0x156
    LOAD = 0x157
    SIGN = 0x15D
    FLUSH_CONTEXT = 0x165
    GET_CAPABILITY = 0x17A


class Code(IntEnum):
    """TPM_RC, as `TpmError` has it: without the number of parameter, handle or session."""

    INITIALIZE = 0x100
    AUTH_FAIL = 0x8E
    BAD_AUTH = 0xA2
    HANDLE = 0x8B
    VALUE = 0x84
    HASH = 0x83
    SCHEME = 0x92
    INTEGRITY = 0x9F
    CONTEXT_GAP = 0x901
    OBJECT_MEMORY = 0x902
    SESSION_MEMORY = 0x903
    YIELDED = 0x908
    TESTING = 0x90A
    REFERENCE_H0 = 0x910
    LOCKOUT = 0x921
    RETRY = 0x922


BUSY = frozenset({Code.RETRY, Code.YIELDED, Code.TESTING, Code.OBJECT_MEMORY, Code.SESSION_MEMORY})
"""Try again a moment later: TPM 2.0 Library part 2, section 6.6.3."""


class TpmError(Exception):
    """The TPM's own refusal; `code` is one of `Code` where we know it."""

    def __init__(self, raw: int) -> None:
        # Format one has the number of what is wrong in bits that do not belong to the code.
        self.code = raw & 0xBF if raw & 0x80 else raw
        super().__init__(f"the TPM answered {raw:#x}")


def sized(data: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(data)) + data


class TpmReader:
    """Takes fields off the front of what a TPM or a key file says; raises `TokenError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        end = self._offset + size
        if end > len(self._data):
            raise TokenError("tpm_failed", "a structure of the TPM that ends too early")
        data, self._offset = self._data[self._offset : end], end
        return data

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """The contents of a TPM2B."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """What is left."""
        return self.take(len(self._data) - self._offset)


def encode_command(
    code: Command,
    handles: tuple[int, ...],
    parameters: bytes,
    auth: bytes | None = None,
) -> bytes:
    """A command; `auth` is the password of its first handle, None for a command without one."""
    body = struct.pack(f">{len(handles)}I", *handles)
    tag = NO_SESSIONS
    if auth is not None:
        tag = SESSIONS
        session = struct.pack(">IHB", PASSWORD, 0, 0) + sized(auth)
        body += struct.pack(">I", len(session)) + session
    body += parameters
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def parse_response(response: bytes, handles: int = 0) -> tuple[tuple[int, ...], TpmReader]:
    """Its handles and parameters; raises `TpmError` for a refusal."""
    reader = TpmReader(response)
    tag, size, code = reader.number(2), reader.number(4), reader.number(4)
    if size != len(response):
        raise TokenError("tpm_failed", "a response of the TPM with a wrong length")
    if code:
        raise TpmError(code)
    found = tuple(reader.number(4) for _ in range(handles))
    return found, TpmReader(reader.take(reader.number(4))) if tag == SESSIONS else reader


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key as a TPM hands it out: its public area, and its private one that only the TPM opens."""

    public: bytes
    private: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublicArea:
    """What we need of a TPMT_PUBLIC."""

    kind: int
    attributes: int
    x: bytes = b""
    y: bytes = b""
    modulus: bytes = b""
    exponent: int = 0


def parse_public(public: bytes) -> PublicArea:
    """A TPMT_PUBLIC of a P-256 or RSA key; raises `TokenError` for any other."""
    reader = TpmReader(public)
    kind, _, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.sized()
    if reader.number(2) != NULL:
        raise TokenError("unsupported", "a storage key, and no key that signs")
    if reader.number(2) != NULL:
        reader.number(2)
    if kind == ECC:
        if reader.number(2) != P256:
            raise TokenError("unsupported", "a key on another curve than P-256")
        if reader.number(2) != NULL:
            reader.number(2)
        x, y = reader.sized(), reader.sized()
        return PublicArea(kind, attributes, x.rjust(32, b"\0"), y.rjust(32, b"\0"))
    if kind == RSA:
        reader.number(2)
        exponent = reader.number(4) or 65537
        return PublicArea(kind, attributes, modulus=reader.sized(), exponent=exponent)
    raise TokenError("unsupported", "a key that is neither ECC nor RSA")


def storage_template() -> bytes:
    """The primary key that other tools derive under the owner: P-256, AES-128 in CFB mode."""
    attributes = FIXED_TPM | FIXED_PARENT | DATA_ORIGIN | WITH_AUTH | NO_LOCKOUT
    attributes |= RESTRICTED | DECRYPT
    parameters = struct.pack(">HHHHHH", AES, 128, CFB, NULL, P256, NULL)
    return _public(ECC, attributes, parameters, sized(b"") * 2)


def signing_template(kind: int, *, has_auth: bool, unique: bytes = b"", imported: bool) -> bytes:
    """A key that signs: P-256 or RSA-2048. One with a password is protected by the TPM's lock-out."""
    attributes = WITH_AUTH | SIGN | (0 if has_auth else NO_LOCKOUT)
    if not imported:
        attributes |= FIXED_TPM | FIXED_PARENT | DATA_ORIGIN
    if kind == ECC:
        return _public(
            kind, attributes, struct.pack(">HHHH", NULL, NULL, P256, NULL), unique or sized(b"") * 2
        )
    return _public(
        kind, attributes, struct.pack(">HHHI", NULL, NULL, 2048, 0), unique or sized(b"")
    )


def _public(kind: int, attributes: int, parameters: bytes, unique: bytes) -> bytes:
    return struct.pack(">HHI", kind, SHA256, attributes) + sized(b"") + parameters + unique


def encode_creation(template: bytes, auth: bytes) -> bytes:
    """The parameters of CREATE and CREATE_PRIMARY."""
    sensitive = sized(sized(auth) + sized(b""))
    return sensitive + sized(template) + sized(b"") + struct.pack(">I", 0)


def encode_import(template: bytes, secret: bytes, auth: bytes, kind: int) -> bytes:
    """The parameters of IMPORT for a key in clear: a scalar, or a prime of an RSA key."""
    sensitive = struct.pack(">H", kind) + sized(auth) + sized(b"") + sized(secret)
    duplicate = sized(sized(sensitive))
    return sized(b"") + sized(template) + duplicate + sized(b"") + struct.pack(">H", NULL)


def encode_sign(digest: bytes, scheme: int, hash_id: int) -> bytes:
    """The parameters of SIGN; the ticket is the one of data that did not come from the TPM."""
    ticket = struct.pack(">HIH", HASHCHECK, NULL_HIERARCHY, 0)
    return sized(digest) + struct.pack(">HH", scheme, hash_id) + ticket


def parse_signature(reader: TpmReader) -> tuple[bytes, bytes]:
    """The two numbers of an ECDSA signature, or an RSA signature and b""."""
    scheme = reader.number(2)
    reader.number(2)
    first = reader.sized()
    return first, reader.sized() if scheme == ECDSA else b""
