"""What an agent answers, as frozen values: RFC 9987 sections 5 and 6.

`encode_reply` is the agent's side and `parse_reply` the client's; a payload is a frame without
its length. Like OpenSSH's client, `parse_reply` ignores bytes after the last field.

Rule for editors: everything an agent sends is hostile until parsed; counts are bounded before
they are believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sshwire.agent.numbers import MAX_IDENTITIES, OTHER_FAILURES, ReplyNumber
from sshwire.errors import WireError
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32


@dataclass(frozen=True, slots=True)
class Identity:
    """One key that the agent offers: its public key blob and its comment."""

    blob: bytes
    comment: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The agent would not or could not; the protocol gives no reason."""


@dataclass(frozen=True, slots=True)
class Success:
    """Done. `body` is empty but for agents that answer extensions as drafts of the RFC did."""

    body: bytes = b""


@dataclass(frozen=True, slots=True)
class IdentitiesAnswer:
    """The keys, in the agent's order."""

    identities: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class SignResponse:
    """A signature blob: string format, string signature."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class ExtensionFailure:
    """The extension is known, and it failed."""


@dataclass(frozen=True, slots=True)
class ExtensionResponse:
    """The extension's answer; `name` echoes the request's."""

    name: str
    body: bytes = b""


Reply = Failure | Success | IdentitiesAnswer | SignResponse | ExtensionFailure | ExtensionResponse


def parse_reply(payload: bytes | bytearray | memoryview) -> Reply:
    """The reply of one frame; raises `WireError` for anything that is not one."""
    reader = Reader(payload)
    number = reader.byte()
    parse = _PARSERS.get(number)
    if parse is None:
        raise WireError(f"not a reply of the agent protocol: message {number}")
    return parse(reader)


def encode_reply(reply: Reply) -> bytes:
    """The payload of one frame."""
    match reply:
        case Failure():
            return encode_byte(ReplyNumber.FAILURE)
        case Success(body):
            return encode_byte(ReplyNumber.SUCCESS) + body
        case IdentitiesAnswer(identities):
            return _encode_identities(identities)
        case SignResponse(signature):
            return encode_byte(ReplyNumber.SIGN_RESPONSE) + encode_string(signature)
        case ExtensionFailure():
            return encode_byte(ReplyNumber.EXTENSION_FAILURE)
        case ExtensionResponse(name, body):
            return encode_byte(ReplyNumber.EXTENSION_RESPONSE) + encode_text(name) + body


_pack_sign_head = struct.Struct(">IBI").pack
"""Length of the frame, number of the message, length of the signature."""

_SIGN_RESPONSE = int(ReplyNumber.SIGN_RESPONSE)


def encode_sign_frame(signature: bytes) -> bytes:
    """A `SignResponse` as a whole frame, in one step: an agent under load sends little else."""
    size = len(signature)
    return _pack_sign_head(5 + size, _SIGN_RESPONSE, size) + signature


def encode_identity(identity: Identity) -> bytes:
    """One entry of a list; its length tells how many fit into a frame."""
    # OpenSSH's client gives up the whole list over one NUL or lone surrogate in a comment.
    comment = identity.comment.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return encode_string(identity.blob) + encode_string(comment.encode(errors="replace"))


def _encode_identities(identities: tuple[Identity, ...]) -> bytes:
    head = encode_byte(ReplyNumber.IDENTITIES_ANSWER) + encode_uint32(len(identities))
    return head + b"".join(map(encode_identity, identities))


def _parse_identities(reader: Reader) -> IdentitiesAnswer:
    count = reader.uint32()
    if count > MAX_IDENTITIES:
        raise WireError(f"{count} identities are over the limit of {MAX_IDENTITIES}")
    return IdentitiesAnswer(
        tuple(
            Identity(reader.string(), reader.string().decode(errors="replace"))
            for _ in range(count)
        )
    )


_PARSERS: Final[dict[int, Callable[[Reader], Reply]]] = {
    ReplyNumber.FAILURE: lambda _: Failure(),
    ReplyNumber.SUCCESS: lambda reader: Success(reader.rest()),
    ReplyNumber.IDENTITIES_ANSWER: _parse_identities,
    ReplyNumber.SIGN_RESPONSE: lambda reader: SignResponse(reader.string()),
    ReplyNumber.EXTENSION_FAILURE: lambda _: ExtensionFailure(),
    ReplyNumber.EXTENSION_RESPONSE: lambda reader: ExtensionResponse(reader.text(), reader.rest()),
    **dict.fromkeys(OTHER_FAILURES, lambda _: Failure()),
}
