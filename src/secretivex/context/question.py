"""What a person reads who is to allow a signature: which key, who asks, and what for.

Rule for editors: callers choose much of what is shown here, so it stays within its line and its
length, and nothing is called certain that only the data to be signed say of themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from secretivex.context.bindings import Binding, Bindings
from secretivex.context.purpose import Purpose, purpose_of
from secretivex.context.signed_data import DataKind
from secretivex.peer import Caller, Peer

MAX_SHOWN_CHARS = 200
"""Of one name; a longer one is cut."""

MAX_SHOWN_ANCESTORS = 6
"""Of the processes that started the caller."""

Show = Callable[[bytes], str]
"""A key blob's fingerprint."""


@dataclass(frozen=True, slots=True)
class Request:
    """One signature that somebody wants."""

    key_blob: bytes
    comment: str
    peer: Peer
    caller: Caller
    data: bytes
    bindings: Bindings


def render_question(request: Request, show: Show) -> str:
    """The whole text, one fact a line."""
    return "\n".join(_lines(request, show))


def describe_destination(request: Request, show: Show) -> str:
    """Where a login goes over a bound connection; "" for all else."""
    purpose = purpose_of(request.data, request.bindings)
    if purpose.kind is not DataKind.USERAUTH or purpose.host_key is None:
        return ""
    return f"{quote_name(purpose.user)} at the host with key {show(purpose.host_key)}"


def show_name(text: str) -> str:
    """A name in one line, without what would move a cursor or hide text."""
    visible = "".join(
        char if char.isprintable() and char not in _BLANK else "\ufffd" for char in text
    )
    return visible if len(visible) <= MAX_SHOWN_CHARS else visible[: MAX_SHOWN_CHARS - 1] + "…"


_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Letters and marks that draw nothing: Default_Ignorable_Code_Point of Unicode, and blank Braille."""

_PLAIN = re.compile(r"[\w./@+:=~%*-]*")


def quote_name(text: str) -> str:
    """The same for a line with other words: in quotation marks unless it is a single word.

    A caller could have a path that reads like the rest of the line.
    """
    shown = show_name(text)
    return shown if _PLAIN.fullmatch(shown) else f'"{shown.replace(chr(34), chr(0xFFFD))}"'


def _lines(request: Request, show: Show) -> Iterator[str]:
    yield f"May this key be used? {quote_name(request.comment)}"
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
    name = quote_name(request.caller.executable) or "a program that is not known"
    process = f"process {peer.pid}, " if peer.pid else ""
    line = [quote_name(path) or "?" for path in request.caller.ancestors or ()]
    more = [f"{len(line) - MAX_SHOWN_ANCESTORS} more"] if len(line) > MAX_SHOWN_ANCESTORS else []
    by = ", ".join((*line[:MAX_SHOWN_ANCESTORS], *more))
    return f"{name} ({process}user {peer.uid})" + (f", started by {by}" if by else "")


def _describe_purpose(request: Request, show: Show) -> str:
    purpose = purpose_of(request.data, request.bindings)
    if purpose.kind is not DataKind.USERAUTH:
        return _PURPOSES[purpose.kind](purpose, len(request.data))
    host = "a host that the client does not prove"
    if purpose.host_key is not None:
        host = f"the host with key {show(purpose.host_key)}"
    return f"log in as {quote_name(purpose.user)} at {host}"


_PURPOSES: dict[DataKind, Callable[[Purpose, int], str]] = {
    DataKind.SSHSIG: lambda signed, _: f"sign a message, namespace {quote_name(signed.detail)}",
    DataKind.DSSE: lambda signed, _: f"sign a document, type {quote_name(signed.detail)}",
    DataKind.CERTIFICATE: lambda signed, _: f"issue a certificate, {quote_name(signed.detail)}",
    DataKind.HOST_KEY: lambda _, size: f"sign {size} bytes, which may be a host's key exchange",
    DataKind.OTHER: lambda _, size: f"sign {size} bytes of a kind that is not known",
}


def _show_host(hop: Binding, show: Show) -> str:
    key = hop.certificate.key.blob if hop.certificate else hop.host_key
    return f"the host with key {show(key)}"
