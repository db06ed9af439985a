"""What a client asks of an agent, as frozen values: RFC 9987 section 5.

`parse_request` is the agent's side and `encode_request` the client's; a payload is a frame
without its length. Bytes after the last field are ignored where OpenSSH's agent ignores them
(everywhere but in what reads to the end), so that every client that works with it works with us.

Rule for editors: a secret field has `repr=False`; a message is a row of `_PARSERS`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sshwire.agent.constraints import (
    NO_CONSTRAINTS,
    Constraints,
    encode_constraints,
    parse_constraints,
)
from sshwire.agent.key_fields import take_private_fields
from sshwire.agent.numbers import MAX_COMMENT_BYTES, RequestNumber
from sshwire.errors import TruncatedError, WireError
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Which keys does the agent hold."""


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Sign these data with this key; `flags` as they came, see `SignFlag`."""

    key_blob: bytes
    data: bytes = field(repr=False)
    flags: int = 0


@dataclass(frozen=True, slots=True)
class AddRequest:
    """Hold this key. `private_fields` has the shape of an openssh-key-v1 entry after its type."""

    algorithm: str
    private_fields: bytes = field(repr=False)
    comment: str = ""
    constraints: Constraints = NO_CONSTRAINTS


@dataclass(frozen=True, slots=True)
class RemoveRequest:
    """Forget this key."""

    key_blob: bytes


@dataclass(frozen=True, slots=True)
class RemoveAllRequest:
    """Forget every key."""


@dataclass(frozen=True, slots=True)
class Ssh1RemoveAllRequest:
    """Forget every SSH 1 key: `ssh-add -D` still asks, and success is the only useful answer."""


@dataclass(frozen=True, slots=True)
class AddSmartcardRequest:
    """Load the keys of a PKCS#11 provider."""

    provider: str
    pin: bytes = field(repr=False)
    constraints: Constraints = NO_CONSTRAINTS


@dataclass(frozen=True, slots=True)
class RemoveSmartcardRequest:
    """Drop the keys of a PKCS#11 provider."""

    provider: str
    pin: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LockRequest:
    """Refuse service until unlocked with the same passphrase."""

    passphrase: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnlockRequest:
    """Serve again."""

    passphrase: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExtensionRequest:
    """Something that the protocol leaves to vendors; `body` is everything after the name."""

    name: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """A message number that no specification gives a meaning; the answer is a failure."""

    number: int


Request = (
    ListRequest
    | SignRequest
    | AddRequest
    | RemoveRequest
    | RemoveAllRequest
    | Ssh1RemoveAllRequest
    | AddSmartcardRequest
    | RemoveSmartcardRequest
    | LockRequest
    | UnlockRequest
    | ExtensionRequest
    | UnknownRequest
)


def parse_request(payload: bytes | bytearray | memoryview) -> Request:
    """The request of one frame; raises `WireError` when its fields cannot be read."""
    if payload and payload[0] == _SIGN_REQUEST:
        return SignRequest(*cut_sign(bytes(payload)))
    reader = Reader(payload)
    number = reader.byte()
    parse = _PARSERS.get(number)
    return UnknownRequest(number) if parse is None else parse(reader)


def encode_request(request: Request) -> bytes:  # noqa: PLR0911, C901 - one row per message
    """The payload of one frame."""
    match request:
        case ListRequest():
            return encode_byte(RequestNumber.REQUEST_IDENTITIES)
        case SignRequest(blob, data, flags):
            return _message(
                RequestNumber.SIGN_REQUEST,
                encode_string(blob),
                encode_string(data),
                encode_uint32(flags),
            )
        case AddRequest():
            return _encode_add(request)
        case RemoveRequest(blob):
            return _message(RequestNumber.REMOVE_IDENTITY, encode_string(blob))
        case RemoveAllRequest():
            return encode_byte(RequestNumber.REMOVE_ALL_IDENTITIES)
        case Ssh1RemoveAllRequest():
            return encode_byte(RequestNumber.SSH1_REMOVE_ALL)
        case AddSmartcardRequest():
            return _encode_add_smartcard(request)
        case RemoveSmartcardRequest(provider, pin):
            return _message(
                RequestNumber.REMOVE_SMARTCARD_KEY, encode_text(provider), encode_string(pin)
            )
        case LockRequest(passphrase):
            return _message(RequestNumber.LOCK, encode_string(passphrase))
        case UnlockRequest(passphrase):
            return _message(RequestNumber.UNLOCK, encode_string(passphrase))
        case ExtensionRequest(name, body):
            return _message(RequestNumber.EXTENSION, encode_text(name), body)
        case UnknownRequest(number):
            return encode_byte(number)


def _message(number: RequestNumber, *fields: bytes) -> bytes:
    return b"".join((encode_byte(number), *fields))


def _encode_add(request: AddRequest) -> bytes:
    plain = request.constraints == NO_CONSTRAINTS
    return _message(
        RequestNumber.ADD_IDENTITY if plain else RequestNumber.ADD_ID_CONSTRAINED,
        encode_text(request.algorithm),
        request.private_fields,
        encode_text(request.comment),
        encode_constraints(request.constraints),
    )


def _encode_add_smartcard(request: AddSmartcardRequest) -> bytes:
    plain = request.constraints == NO_CONSTRAINTS
    return _message(
        RequestNumber.ADD_SMARTCARD_KEY if plain else RequestNumber.ADD_SMARTCARD_KEY_CONSTRAINED,
        encode_text(request.provider),
        encode_string(request.pin),
        encode_constraints(request.constraints),
    )


_SIGN_REQUEST = int(RequestNumber.SIGN_REQUEST)


_uint32_at = struct.Struct(">I").unpack_from


def cut_sign(payload: bytes) -> tuple[bytes, bytes, int]:
    """Key blob, data and flags of a sign request where they lie: an agent reads little else.

    The fields of a `SignRequest` without one; raises `WireError` as `parse_request` does.
    """
    try:
        (key_bytes,) = _uint32_at(payload, 1)
        data_at = 9 + key_bytes
        (data_bytes,) = _uint32_at(payload, data_at - 4)
        data_end = data_at + data_bytes
        (flags,) = _uint32_at(payload, data_end)
    except struct.error as error:
        # Whatever a length says, nothing is read or made beyond the bytes that are there.
        raise TruncatedError("a sign request ends early") from error
    return payload[5 : data_at - 4], payload[data_at:data_end], flags


def _parse_add(reader: Reader) -> AddRequest:
    # Constraints are read for both numbers, as OpenSSH does: 17 with some is not 17 without.
    algorithm = _name(reader)
    return AddRequest(
        algorithm=algorithm,
        private_fields=take_private_fields(reader, algorithm),
        comment=_comment(reader),
        constraints=parse_constraints(reader),
    )


def _parse_add_smartcard(reader: Reader) -> AddSmartcardRequest:
    return AddSmartcardRequest(_name(reader), reader.string(), parse_constraints(reader))


def _name(reader: Reader) -> str:
    """A string that OpenSSH keeps as a C string."""
    name = reader.text()
    if "\0" in name:
        raise WireError("a name holds a NUL")
    return name


def _comment(reader: Reader) -> str:
    """RFC 9987 says UTF-8; other bytes are shown as U+FFFD, and a NUL is refused as OpenSSH does."""
    comment = reader.string().decode(errors="replace")
    # Measured as it will be encoded again: U+FFFD is three bytes in place of one.
    if len(comment.encode()) > MAX_COMMENT_BYTES:
        raise WireError(f"a comment of more than {MAX_COMMENT_BYTES} bytes")
    if "\0" in comment:
        raise WireError("a comment holds a NUL")
    return comment


_PARSERS: Final[dict[int, Callable[[Reader], Request]]] = {
    RequestNumber.SSH1_REMOVE_ALL: lambda _: Ssh1RemoveAllRequest(),
    RequestNumber.REQUEST_IDENTITIES: lambda _: ListRequest(),
    RequestNumber.ADD_IDENTITY: _parse_add,
    RequestNumber.ADD_ID_CONSTRAINED: _parse_add,
    RequestNumber.REMOVE_IDENTITY: lambda reader: RemoveRequest(reader.string()),
    RequestNumber.REMOVE_ALL_IDENTITIES: lambda _: RemoveAllRequest(),
    RequestNumber.ADD_SMARTCARD_KEY: _parse_add_smartcard,
    RequestNumber.ADD_SMARTCARD_KEY_CONSTRAINED: _parse_add_smartcard,
    RequestNumber.REMOVE_SMARTCARD_KEY: lambda reader: RemoveSmartcardRequest(
        _name(reader), reader.string()
    ),
    RequestNumber.LOCK: lambda reader: LockRequest(reader.string()),
    RequestNumber.UNLOCK: lambda reader: UnlockRequest(reader.string()),
    RequestNumber.EXTENSION: lambda reader: ExtensionRequest(_name(reader), reader.rest()),
}
