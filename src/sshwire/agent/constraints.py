"""Constraints that come with an added key: RFC 9987 section 5.2.6, PROTOCOL.agent of OpenSSH.

    byte 1     uint32 lifetime in seconds
    byte 2                                      ask before every use
    byte 255   string name, then data whose shape only the name tells

Rule for editors: an extension has no outer length, so one we do not know cannot be skipped and
the whole request is refused. Add a row to `_EXTENSION_SHAPES`; never guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sshwire.agent.numbers import ConstraintNumber
from sshwire.errors import UnsupportedError, WireError
from sshwire.wire import (
    Reader,
    encode_boolean,
    encode_byte,
    encode_string,
    encode_text,
    encode_uint32,
)

RESTRICT_DESTINATION: Final = "restrict-destination-v00@openssh.com"
ASSOCIATED_CERTS: Final = "associated-certs-v00@openssh.com"
SK_PROVIDER: Final = "sk-provider@openssh.com"

_EXTENSION_SHAPES: Final[dict[str, tuple[str, ...]]] = {
    # A string of nested hop pairs.
    RESTRICT_DESTINATION: ("string",),
    # bool certs_only, then a string of certificate strings.
    ASSOCIATED_CERTS: ("boolean", "string"),
    # The path of a FIDO middleware library, or "internal".
    SK_PROVIDER: ("string",),
}


@dataclass(frozen=True, slots=True)
class ConstraintExtension:
    """One named constraint and its data as it came; whoever enforces it takes the data apart."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Constraints:
    """What limits the use of a key. All of it must be enforced, or the key refused."""

    lifetime_s: int | None = None
    confirm: bool = False
    extensions: tuple[ConstraintExtension, ...] = ()

    def __bool__(self) -> bool:
        return self != NO_CONSTRAINTS


NO_CONSTRAINTS: Final = Constraints()


def parse_constraints(reader: Reader) -> Constraints:
    """Everything to the end of the message; a constraint given twice is refused."""
    lifetime_s: int | None = None
    confirm = False
    extensions: dict[str, ConstraintExtension] = {}
    while reader.remaining:
        number = reader.byte()
        if number == ConstraintNumber.LIFETIME and lifetime_s is None:
            lifetime_s = reader.uint32()
        elif number == ConstraintNumber.CONFIRM and not confirm:
            confirm = True
        elif number == ConstraintNumber.EXTENSION:
            extension = _parse_extension(reader)
            if extension.name in extensions:
                raise WireError(f"constraint given twice: {extension.name}")
            extensions[extension.name] = extension
        elif number in (ConstraintNumber.LIFETIME, ConstraintNumber.CONFIRM):
            raise WireError(f"constraint given twice: {ConstraintNumber(number).name.lower()}")
        else:
            raise UnsupportedError(f"unknown constraint {number}")
    return Constraints(lifetime_s, confirm, tuple(extensions.values()))


def encode_constraints(constraints: Constraints) -> bytes:
    """The constraints as they stand at the end of a request."""
    parts = []
    if constraints.lifetime_s is not None:
        parts += [encode_byte(ConstraintNumber.LIFETIME), encode_uint32(constraints.lifetime_s)]
    if constraints.confirm:
        parts.append(encode_byte(ConstraintNumber.CONFIRM))
    for extension in constraints.extensions:
        parts += [
            encode_byte(ConstraintNumber.EXTENSION),
            encode_text(extension.name),
            extension.body,
        ]
    return b"".join(parts)


def _parse_extension(reader: Reader) -> ConstraintExtension:
    name = reader.text()
    shape = _EXTENSION_SHAPES.get(name)
    if shape is None:
        raise UnsupportedError(f"unknown constraint extension {name!r}")
    body = b"".join(
        encode_boolean(reader.boolean()) if field == "boolean" else encode_string(reader.string())
        for field in shape
    )
    return ConstraintExtension(name, body)
