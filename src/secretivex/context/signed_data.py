"""What a client wants signed: a word for policies and people, and the fields of a login.

    login        RFC 4252 section 7, and OpenSSH's PROTOCOL section 3.1 for the host-bound form
    sshsig       PROTOCOL.sshsig section 3
    dsse         the pre-authentication encoding of DSSE, version 1
    certificate  PROTOCOL.certkeys: everything before the signature
    host_key     RFC 4253 section 8: a bare exchange hash, told by its length alone

Rule for editors: a form that some verifier would accept must get its word, or a rule that denies it
could be passed by; so what verifiers overlook is overlooked here too. Nothing here raises.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from sshwire.errors import TruncatedError, WireError
from sshwire.wire import Reader

USERAUTH_REQUEST = 50
"""SSH_MSG_USERAUTH_REQUEST: RFC 4252 section 6."""

METHOD = "publickey"
HOST_BOUND_METHOD = "publickey-hostbound-v00@openssh.com"

EXCHANGE_HASH_BYTES = frozenset({20, 32, 48, 64})
"""SHA-1, SHA-256, SHA-384 and SHA-512: the hashes of the key exchanges of SSH."""

_METHODS = (METHOD.encode(), HOST_BOUND_METHOD.encode())
_USERAUTH_BYTE = bytes((USERAUTH_REQUEST,))
_SSHSIG_MAGIC = b"SSHSIG"
_CERTIFICATE_NAME = re.compile(rb"[\x21-\x7e]{1,64}-cert-v[0-9]{2}@openssh\.com")
_DSSE_HEAD = re.compile(rb"DSSEv1 (0|[1-9][0-9]{0,6}) ")


class DataKind(StrEnum):
    """The word for what is being signed."""

    USERAUTH = "userauth"
    SSHSIG = "sshsig"
    DSSE = "dsse"
    CERTIFICATE = "certificate"
    HOST_KEY = "host_key"
    OTHER = "other"


class Userauth(NamedTuple):
    """A login by public key; `host_key` is None in the form that does not name the server.

    Bytes of names that are not UTF-8 are kept as lone surrogates.
    """

    session_id: bytes
    user: str
    service: str
    algorithm: str
    key_blob: bytes
    host_key: bytes | None


class SignedData(NamedTuple):
    """The kind, and what it is about.

    `detail` is the namespace of an SSHSIG, the payload type of a DSSE envelope, the algorithm of a
    certificate; else empty.
    """

    kind: DataKind
    detail: str = ""
    userauth: Userauth | None = None


_OTHER = SignedData(DataKind.OTHER)
_HOST_KEY = SignedData(DataKind.HOST_KEY)


def classify(data: bytes) -> SignedData:
    """What `data` is; the first form that fits, and no two of them fit the same bytes."""
    for parse in (_parse_userauth, _parse_sshsig, _parse_certificate, _parse_dsse):
        try:
            found = parse(data)
        except WireError:
            continue
        if found is not None:
            return found
    return _HOST_KEY if len(data) in EXCHANGE_HASH_BYTES else _OTHER


def _parse_userauth(data: bytes) -> SignedData | None:
    session_id, at = _string(data, 0)
    if not session_id or data[at : at + 1] != _USERAUTH_BYTE:
        return None
    user, at = _string(data, at + 1)
    service, at = _string(data, at)
    method, at = _string(data, at)
    if data[at : at + 1] != b"\1" or method not in _METHODS:
        return None
    algorithm, at = _string(data, at + 1)
    key_blob, at = _string(data, at)
    host_key = None
    if method == _METHODS[1]:
        host_key, at = _string(data, at)
    if at != len(data):
        return None
    login = Userauth(
        session_id, _decode(user), _decode(service), _decode(algorithm), key_blob, host_key
    )
    return SignedData(DataKind.USERAUTH, "", login)


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string and the offset after it. Not a `Reader`'s, for this is done for every login."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise TruncatedError("a string ends early")
    return data[start:end], end


def _parse_sshsig(data: bytes) -> SignedData | None:
    if not data.startswith(_SSHSIG_MAGIC):
        return None
    reader = Reader(data)
    reader.take(len(_SSHSIG_MAGIC))
    namespace = _text(reader)
    for _ in ("reserved", "hash algorithm", "hash"):
        reader.string()
    reader.finish()
    return SignedData(DataKind.SSHSIG, namespace)


def _parse_certificate(data: bytes) -> SignedData | None:
    """By its name alone: authorities sign what a strict reader would refuse."""
    reader = Reader(data)
    name = reader.string()
    if not _CERTIFICATE_NAME.fullmatch(name):
        return None
    reader.string()  # the nonce
    return SignedData(DataKind.CERTIFICATE, name.decode())


def _parse_dsse(data: bytes) -> SignedData | None:
    head = _DSSE_HEAD.match(data)
    if head is None:
        return None
    end = head.end() + int(head[1])
    if data[end : end + 1] != b" ":
        return None
    return SignedData(DataKind.DSSE, data[head.end() : end].decode(errors="surrogateescape"))


def _text(reader: Reader) -> str:
    return _decode(reader.string())


def _decode(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
