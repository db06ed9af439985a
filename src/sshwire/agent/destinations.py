"""Bodies of OpenSSH's agent extensions about where a key may be used: PROTOCOL.agent.

Where its text and ssh-agent.c differ, the code counts, for that is what OpenSSH's tools send:

    restrict-destination-v00   string of constraints, each a string of (hop from, hop to, string reserved)
    hop                        string of (string user, string host, string reserved, keys to the end)
    key                        string blob, bool is_ca
    associated-certs-v00       bool certs_only, string of (string certificate)...
    session-bind               string host key, string session id, string signature, bool is_forwarding

Rule for editors: a constraint that restricts nothing, or that we do not read to its last byte, is
refused; a reader that drops a restriction would widen the use of a key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sshwire.cert import parse_certificate
from sshwire.errors import UnsupportedError, WireError
from sshwire.pubkey import PublicKey, parse_public_key
from sshwire.wire import Reader, encode_boolean, encode_string

SESSION_BIND: Final = "session-bind@openssh.com"

MAX_DESTINATIONS: Final = 1024
"""Constraints on one key: OpenSSH's AGENT_MAX_DEST_CONSTRAINTS."""

MAX_HOP_KEYS: Final = 1024
"""Keys of one hop: ours; OpenSSH has no limit but that of a message."""

MAX_USER_PATTERN_BYTES: Final = 256
"""Length of a user pattern, as OpenSSH has it since 10.4."""

MAX_SESSION_ID_BYTES: Final = 128
"""Length of a session identifier: OpenSSH's AGENT_MAX_SID_LEN; a hash has at most 64 bytes."""


@dataclass(frozen=True, slots=True)
class HopKey:
    """A host key of a hop, or the key of an authority that certifies its host keys."""

    blob: bytes
    is_ca: bool


@dataclass(frozen=True, slots=True)
class Hop:
    """One end of a permitted step. `user` is a pattern, and empty where anybody may log in.

    Bytes that are not UTF-8 are kept as lone surrogates.
    """

    user: str
    host: str
    keys: tuple[HopKey, ...]


ORIGIN: Final = Hop("", "", ())
"""The machine that the agent runs on."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One permitted step: from the agent's machine or a host, to a host."""

    source: Hop
    target: Hop


@dataclass(frozen=True, slots=True)
class AssociatedCertificates:
    """Certificates to offer with the keys of a token, and whether to offer nothing else."""

    certs_only: bool
    certificates: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class SessionBind:
    """What a client says of the SSH connection that it asks for; nothing in it is verified yet."""

    host_key: bytes
    session_id: bytes
    signature: bytes
    is_forwarding: bool


def parse_destinations(body: bytes) -> tuple[Destination, ...]:
    """The steps of a restrict-destination constraint; at least one."""
    reader = Reader(body)
    steps = reader.nested()
    reader.finish()
    destinations: list[Destination] = []
    while steps.remaining:
        if len(destinations) == MAX_DESTINATIONS:
            raise WireError(f"more than {MAX_DESTINATIONS} destination constraints")
        destinations.append(_parse_destination(steps.nested()))
    if not destinations:
        # OpenSSH's agent would hold such a key without any restriction.
        raise WireError("a destination constraint without a destination")
    return tuple(destinations)


def encode_destinations(destinations: tuple[Destination, ...]) -> bytes:
    """The body of a restrict-destination constraint."""
    return encode_string(b"".join(map(_encode_destination, destinations)))


def parse_associated_certificates(body: bytes) -> AssociatedCertificates:
    """The body of an associated-certs constraint, every certificate checked for its form.

    OpenSSH stops at 1024 of them; no message that we take has room for so many.
    """
    reader = Reader(body)
    certs_only, blobs = reader.boolean(), reader.nested()
    reader.finish()
    certificates: list[PublicKey] = []
    while blobs.remaining:
        certificates.append(parse_certificate(blobs.string()).key)
    return AssociatedCertificates(certs_only, tuple(certificates))


def encode_associated_certificates(associated: AssociatedCertificates) -> bytes:
    """The body of an associated-certs constraint."""
    blobs = b"".join(encode_string(one.blob) for one in associated.certificates)
    return encode_boolean(associated.certs_only) + encode_string(blobs)


def parse_session_bind(body: bytes) -> SessionBind:
    """The body of a session-bind request; bytes after it are ignored, as OpenSSH's agent does."""
    reader = Reader(body)
    host_key = reader.string()
    session_id = reader.string(MAX_SESSION_ID_BYTES)
    if not session_id:
        raise WireError("an empty session identifier")
    return SessionBind(host_key, session_id, reader.string(), reader.boolean())


def encode_session_bind(request: SessionBind) -> bytes:
    """The body of a session-bind request."""
    return (
        encode_string(request.host_key)
        + encode_string(request.session_id)
        + encode_string(request.signature)
        + encode_boolean(request.is_forwarding)
    )


def _parse_destination(reader: Reader) -> Destination:
    source, target = _parse_hop(reader.nested()), _parse_hop(reader.nested())
    _refuse_reserved(reader)
    reader.finish()
    if source.user:
        raise WireError("a destination constraint names a user to come from")
    if bool(source.host) != bool(source.keys):
        raise WireError("a destination constraint comes from a host without keys, or the reverse")
    if not target.host or not target.keys:
        raise WireError("a destination constraint leads to no host, or to one without keys")
    return Destination(source, target)


def _parse_hop(reader: Reader) -> Hop:
    user, host = _text(reader, MAX_USER_PATTERN_BYTES), _text(reader)
    _refuse_reserved(reader)
    keys: list[HopKey] = []
    while reader.remaining:
        if len(keys) == MAX_HOP_KEYS:
            raise WireError(f"more than {MAX_HOP_KEYS} keys of one host")
        keys.append(HopKey(_key_blob(reader), reader.boolean()))
    return Hop(user, host, tuple(keys))


def _key_blob(reader: Reader) -> bytes:
    """A key blob; one of a type that we do not know is kept, for it can never be matched."""
    blob = reader.string()
    with suppress(UnsupportedError):
        parse_public_key(blob)
    return blob


def _refuse_reserved(reader: Reader) -> None:
    if reader.string():
        raise UnsupportedError("a destination constraint of a later version")


def _text(reader: Reader, max_bytes: int | None = None) -> str:
    data = reader.string() if max_bytes is None else reader.string(max_bytes)
    if b"\0" in data:
        raise WireError("a destination constraint holds a NUL")
    return data.decode(errors="surrogateescape")


def _encode_destination(destination: Destination) -> bytes:
    hops = _encode_hop(destination.source) + _encode_hop(destination.target)
    return encode_string(hops + encode_string(b""))


def _encode_hop(hop: Hop) -> bytes:
    names = encode_string(_encode_text(hop.user)) + encode_string(_encode_text(hop.host))
    keys = b"".join(encode_string(key.blob) + encode_boolean(key.is_ca) for key in hop.keys)
    return encode_string(names + encode_string(b"") + keys)


def _encode_text(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise WireError("text that no bytes were read from") from error
