"""Whether a key with destination constraints may be seen or used over a connection.

PROTOCOL.agent section 2, ssh-agent(1) and ssh-add(1) -h. The path that a connection was bound to must
be permitted step by step, beginning at the agent's machine. Rule for editors: a constraint only ever
permits; whatever no constraint permits is refused, and a longer path never sees more than its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secretivex.context.bindings import Binding, Bindings
from secretivex.context.signed_data import Userauth
from sshwire.agent.destinations import Destination, Hop
from sshwire.algorithms import KeyAlgorithm
from sshwire.cert import Certificate, CertificateType
from sshwire.errors import WireError
from sshwire.keyblob import read_algorithm
from sshwire.patterns import match_pattern
from sshwire.wire import Reader

SERVICE = "ssh-connection"
"""The one service that OpenSSH logs in to."""

_CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"


def refuse_sight(
    destinations: tuple[Destination, ...], bindings: Bindings, now_s: float
) -> str | None:
    """Why a key may not be listed, replaced or removed over this connection; None where it may."""
    if not destinations:
        return None
    if not bindings.hops:
        return "destination_bind_failed" if bindings.is_attempted else None
    refusal = _refuse_path(destinations, bindings.hops, None, now_s)
    if refusal is not None:
        return refusal
    last = bindings.hops[-1]
    # At a host that forwards, only what could go on from there is of use.
    if last.is_forwarding and not _any(_leaving(destinations, last, now_s)):
        return "destination_ends_here"
    return None


def refuse_use(
    destinations: tuple[Destination, ...],
    bindings: Bindings,
    key_blob: bytes,
    login: Userauth | None,
    now_s: float,
) -> str | None:
    """Why a key may not sign over this connection; None where it may.

    `login` is what the data to be signed says of itself, None if they are no login at all.
    """
    if not destinations:
        return None
    if not bindings.hops:
        return "destination_unbound"
    if login is None or not _is_login_with(login, key_blob):
        return "destination_not_a_login"
    if bindings.hops[-1].is_forwarding:
        return "destination_forwarding_bind"
    return _refuse_path(destinations, bindings.hops, login.user, now_s) or _refuse_login(
        login, bindings.hops
    )


def _refuse_login(login: Userauth, hops: tuple[Binding, ...]) -> str | None:
    """Whether a login is the one that the connection was last bound for."""
    if login.session_id != hops[-1].session_id:
        return "destination_other_session"
    if login.host_key is None:
        return "destination_host_not_named" if len(hops) > 1 else None
    return None if login.host_key == hops[-1].host_key else "destination_other_host_key"


def _refuse_path(
    destinations: tuple[Destination, ...],
    hops: tuple[Binding, ...],
    user: str | None,
    now_s: float,
) -> str | None:
    """Walk the hops; the user counts at the last one only, for no other login is known."""
    source: Binding | None = None
    for number, hop in enumerate(hops, start=1):
        is_last = number == len(hops)
        if not is_last and not hop.is_forwarding:
            return "destination_forwarded_a_login"
        steps = _arriving(_leaving(destinations, source, now_s), hop, now_s)
        if is_last and user is not None:
            steps = (step for step in steps if _is_user_permitted(step.target.user, user))
        if not _any(steps):
            return "destination_not_permitted"
        source = hop
    return None


def _leaving(
    destinations: Iterable[Destination], source: Binding | None, now_s: float
) -> Iterator[Destination]:
    """Steps that begin at a host; None is the agent's machine."""
    for step in destinations:
        if source is None:
            if not step.source.host and not step.source.keys:
                yield step
        elif _is_host(step.source, source, now_s):
            yield step


def _arriving(steps: Iterable[Destination], target: Binding, now_s: float) -> Iterator[Destination]:
    return (step for step in steps if _is_host(step.target, target, now_s))


def _any(steps: Iterator[Destination]) -> bool:
    return next(steps, None) is not None


def _is_host(hop: Hop, bound: Binding, now_s: float) -> bool:
    """Whether a bound host is the one of a hop: by its very key, or by an authority and its name."""
    certificate = bound.certificate
    if certificate is None:
        return any(not key.is_ca and key.blob == bound.host_key for key in hop.keys)
    authority = certificate.signature_key.blob
    return any(key.is_ca and key.blob == authority for key in hop.keys) and _names_host(
        certificate, hop.host, now_s
    )


def _names_host(certificate: Certificate, host: str, now_s: float) -> bool:
    """Whether a certificate is a host's, valid now, without options, and covers the host's name.

    Either may be a pattern. To OpenSSH's agent the hop's host is one since it knows hops, and the
    principal since 10.3 (in its place); both are how their owners write "all of these".
    """
    name = _bytewise(host)
    return (
        certificate.type is CertificateType.HOST
        and certificate.valid_after <= now_s < certificate.valid_before
        and not certificate.critical_options
        and any(
            match_pattern(name, principal) or match_pattern(principal, name)
            for principal in map(_bytewise, certificate.principals)
        )
    )


def _is_user_permitted(pattern: str, user: str) -> bool:
    """One pattern, not a list of them: OpenSSH takes commas and `!` here as they stand."""
    return not pattern or match_pattern(_bytewise(user), _bytewise(pattern))


def _bytewise(text: str) -> str:
    """One character a byte, as OpenSSH's patterns see text."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _is_login_with(login: Userauth, key_blob: bytes) -> bool:
    """Whether a login is one to a shell or the like, with this key and an algorithm of its type."""
    if login.service != SERVICE or login.key_blob != key_blob:
        return False
    try:
        return login.algorithm in _login_algorithms(read_algorithm(Reader(key_blob)))
    except WireError:
        return False


def _login_algorithms(row: KeyAlgorithm) -> tuple[str, ...]:
    """RFC 8332 section 3 has names of signatures in place of the key's, also for certificates."""
    if not row.is_certificate:
        return (row.name, *row.signature_formats)
    return (row.name, *(name + _CERTIFICATE_SUFFIX for name in row.signature_formats))
