"""What a person reads who is to allow a signature: which key, who asks, and what for.

Rule for editors: callers choose much of what is shown here, so it stays within its line and its
length, and nothing is called certain that only the data to be signed say of themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from secretivex.context.bindings import Binding, Bindings
from secretivex.context.signed_data import DataKind, SignedData, Userauth, classify
from secretivex.peer import Peer

MAX_SHOWN_CHARS = 200
"""Of one name; a longer one is cut."""

Show = Callable[[bytes], str]
"""A key blob's fingerprint."""


@dataclass(frozen=True, slots=True)
class Request:
    """One signature that somebody wants; `executable` is "" where it is not known."""

    key_blob: bytes
    comment: str
    peer: Peer
    executable: str
    data: bytes
    bindings: Bindings


def render_question(request: Request, show: Show) -> str:
    """The whole text, one fact a line."""
    return "\n".join(_lines(request, show))


def describe_destination(request: Request, show: Show) -> str:
    """Where a login goes over a bound connection; "" for all else."""
    login = classify(request.data).userauth
    hop = None if login is None else _bound_for(login, request.bindings)
    return f"{show_name(login.user)} at {_show_host(hop, show)}" if login and hop else ""


def show_name(text: str) -> str:
    """A name in one line, without what would move a cursor or hide text."""
    visible = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return visible if len(visible) <= MAX_SHOWN_CHARS else visible[: MAX_SHOWN_CHARS - 1] + "…"


def _lines(request: Request, show: Show) -> Iterator[str]:
    yield f"May this key be used? {show_name(request.comment)}"
    yield f"Fingerprint: {show(request.key_blob)}"
    yield f"Asked for by: {_describe_caller(request)}"
    yield f"In order to: {_describe_purpose(request, show)}"
    forwarding = [hop for hop in request.bindings.hops if hop.is_forwarding]
    if forwarding:
        names = ", ".join(_show_host(hop, show) for hop in forwarding)
        yield f"Forwarded from: {names}"
    elif request.bindings.is_remote:
        yield "Forwarded from: a host that is not known"


def _describe_caller(request: Request) -> str:
    peer = request.peer
    name = show_name(request.executable) or "a program that is not known"
    process = f"process {peer.pid}, " if peer.pid else ""
    return f"{name} ({process}user {peer.uid})"


def _describe_purpose(request: Request, show: Show) -> str:
    signed = classify(request.data)
    if signed.userauth is not None:
        hop = _bound_for(signed.userauth, request.bindings)
        host = _show_host(hop, show) if hop else "a host that the client does not prove"
        return f"log in as {show_name(signed.userauth.user)} at {host}"
    return _PURPOSES[signed.kind](signed, len(request.data))


_PURPOSES: dict[DataKind, Callable[[SignedData, int], str]] = {
    DataKind.SSHSIG: lambda signed, _: f"sign a message, namespace {show_name(signed.detail)}",
    DataKind.DSSE: lambda signed, _: f"sign a document, type {show_name(signed.detail)}",
    DataKind.CERTIFICATE: lambda signed, _: f"issue a certificate, {show_name(signed.detail)}",
    DataKind.HOST_KEY: lambda _, size: f"sign {size} bytes, which may be a host's key exchange",
    DataKind.OTHER: lambda _, size: f"sign {size} bytes of a kind that is not known",
}


def _bound_for(login: Userauth, bindings: Bindings) -> Binding | None:
    """The hop that a login is for, if the connection was bound to its very session."""
    return next((hop for hop in bindings.hops if hop.session_id == login.session_id), None)


def _show_host(hop: Binding, show: Show) -> str:
    key = hop.certificate.key.blob if hop.certificate else hop.host_key
    return f"the host with key {show(key)}"
