"""The SSH connections that one agent connection was bound to: PROTOCOL.agent section 1.

A client that forwards the agent binds each new connection before it hands it on, and a client that
logs in binds its own; so the binds of a connection are the path that its requests come by. Rule for
editors: state only ever grows; nothing a client sends may make a connection less remote than it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from sshwire.agent.destinations import SessionBind, parse_session_bind
from sshwire.cert import Certificate, parse_certificate, verify_certificate_signature
from sshwire.errors import VerificationError, WireError
from sshwire.keyblob import PublicKey, read_algorithm
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature
from sshwire.wire import Reader

MAX_BINDS = 16
"""Binds of one connection: OpenSSH's AGENT_MAX_SESSION_IDS."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One verified hop: its host's key, and the certificate if that key is one."""

    host_key: bytes
    session_id: bytes
    is_forwarding: bool
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Bindings:
    """The path so far.

    `is_attempted` once a bind was asked for, whether or not it was accepted. `is_remote` once one was
    for forwarding, or failed, which leaves open what it was for.
    """

    hops: tuple[Binding, ...] = ()
    is_attempted: bool = False
    is_remote: bool = False


UNBOUND = Bindings()
"""A connection that nobody has bound."""


class BindResult(NamedTuple):
    """The state after a request, and the word for why it was refused; empty where it was not."""

    bindings: Bindings
    refusal: str


def bind(bindings: Bindings, body: bytes) -> BindResult:
    """Take one session-bind request, `body` being everything after the extension's name."""
    failed = replace(bindings, is_attempted=True, is_remote=True)
    try:
        request = parse_session_bind(body)
        host_key, certificate = _load_host_key(request.host_key)
    except VerificationError:
        return BindResult(failed, "bind_bad_certificate")
    except WireError:
        return BindResult(failed, "bind_malformed")
    try:
        verify_signature(host_key, request.signature, request.session_id)
    except WireError:
        return BindResult(failed, "bind_bad_signature")
    refusal = _contradiction(bindings, request)
    if refusal:
        return BindResult(failed, refusal)
    if any(hop.session_id == request.session_id for hop in bindings.hops):
        # The very same bind again is accepted, and the first one stays as it was.
        return BindResult(bindings, "")
    hop = Binding(request.host_key, request.session_id, request.is_forwarding, certificate)
    is_remote = bindings.is_remote or request.is_forwarding
    return BindResult(Bindings((*bindings.hops, hop), is_attempted=True, is_remote=is_remote), "")


def _load_host_key(blob: bytes) -> tuple[PublicKey, Certificate | None]:
    """The host's key; a certificate must be signed by the authority that it names, as in OpenSSH."""
    if not read_algorithm(Reader(blob)).is_certificate:
        return parse_public_key(blob), None
    certificate = parse_certificate(blob)
    verify_certificate_signature(certificate)
    return certificate.key, certificate


def _contradiction(bindings: Bindings, request: SessionBind) -> str:
    """Why a request with a good signature does not fit the binds before it; else empty."""
    for hop in bindings.hops:
        if not hop.is_forwarding:
            return "bind_after_login"
        if hop.session_id == request.session_id:
            return "" if hop.host_key == request.host_key else "bind_other_host_key"
    return "bind_limit" if len(bindings.hops) == MAX_BINDS else ""
