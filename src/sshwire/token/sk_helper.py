"""The conversation with OpenSSH's `ssh-sk-helper`: one request and one reply, then it ends.

    uint32 length, byte version, uint32 kind, then what the kind says

Source: ssh-sk.h and ssh-sk-helper.c of OpenSSH 8.6 to 10.4, all of protocol version 5. Rule for
editors: another version is refused by number, never guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sshwire.errors import UnsupportedError, WireError
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32

VERSION: Final = 5
"""OpenSSH's SSH_SK_HELPER_VERSION."""

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Longest message that OpenSSH's msg.c reads."""

INTERNAL_PROVIDER: Final = "internal"
"""Names the FIDO library inside the helper instead of a middleware file."""

_ERROR = 0
_SIGN = 1
_LOG_LEVEL_ERROR = 2

_REFUSALS: Final[Mapping[int, str]] = MappingProxyType(
    {
        # ssherr.h, without the sign; what a middleware answers is folded into these.
        4: "device_failed",
        43: "pin_required",
        59: "unsupported",
        60: "device_not_found",
    }
)


@dataclass(frozen=True, slots=True)
class SkSignRequest:
    """Sign `data` on the device. `private_fields` is the key as an ADD message has it."""

    private_fields: bytes = field(repr=False)
    provider: str
    data: bytes = field(repr=False)
    pin: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SkRefusal:
    """The helper could not sign; `reason` is a stable word, `code` OpenSSH's number."""

    reason: str
    code: int


def encode_sk_sign_request(request: SkSignRequest) -> bytes:
    """The whole message with its length; raises `WireError` if it is too long."""
    body = b"".join(
        (
            encode_byte(VERSION),
            encode_uint32(_SIGN),
            # Log to the system log, errors only.
            encode_byte(0),
            encode_uint32(_LOG_LEVEL_ERROR),
            encode_string(request.private_fields),
            encode_text(request.provider),
            encode_string(request.data),
            # A signature algorithm, and bits for buggy peers: neither is used for these keys.
            encode_text(""),
            encode_uint32(0),
            encode_string(request.pin),
        )
    )
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireError(f"a request of {len(body)} bytes is too long for a security key's helper")
    return encode_string(body)


def parse_sk_sign_reply(body: bytes) -> bytes | SkRefusal:
    """The encoded signature, or why there is none; `body` is a message without its length."""
    reader = Reader(body)
    version = reader.byte()
    if version != VERSION:
        raise UnsupportedError(f"ssh-sk-helper speaks version {version}, and we speak {VERSION}")
    kind = reader.uint32()
    if kind == _ERROR:
        code = reader.uint32()
        return SkRefusal(_REFUSALS.get(code, "device_refused"), code)
    if kind != _SIGN:
        raise WireError(f"ssh-sk-helper answered with a message of kind {kind}")
    signature = reader.string()
    reader.finish()
    return signature
