"""What a signature is for: the kind of its data and, of a login, to which host and as whom.

A host is known where the connection was bound to the very session that the data log in to, or where
the data name the host's key themselves: then no other host takes the signature (OpenSSH's PROTOCOL,
section 3.1). Rule for editors: a host that is only claimed is not known.
"""

from __future__ import annotations

from typing import NamedTuple

from secretivex.context.bindings import Binding, Bindings
from secretivex.context.signed_data import DataKind, Userauth, classify
from sshwire.cert import (
    Certificate,
    CertificateType,
    parse_certificate,
    verify_certificate_signature,
)
from sshwire.errors import WireError
from sshwire.keyblob import read_algorithm
from sshwire.wire import Reader


class Purpose(NamedTuple):
    """What is to be signed. A tuple, for it is made per request.

    `detail` is the namespace of an SSHSIG, the payload type of a DSSE envelope, the algorithm of a
    certificate. `user` is empty but for logins. `host_key` is the plain key of the host, and
    `authority` the key that certified it, empty where none did; None where the host is not known.
    `is_told` is false where `detail` and `user` are not known, which happens in explanations only.
    """

    kind: DataKind
    detail: str = ""
    user: str = ""
    host_key: bytes | None = None
    authority: bytes = b""
    is_told: bool = True


def purpose_of(data: bytes, bindings: Bindings, now_s: float = 0.0) -> Purpose:
    """The purpose that data show, on a connection with this path; a certificate counts at `now_s`."""
    signed = classify(data)
    if signed.userauth is None:
        return Purpose(signed.kind, signed.detail)
    host_key, authority = _host_of(signed.userauth, bindings, now_s)
    return Purpose(signed.kind, "", signed.userauth.user, host_key, authority)


def bound_for(login: Userauth, bindings: Bindings) -> Binding | None:
    """The hop that a login is for, if the connection was bound to its very session."""
    return next((hop for hop in bindings.hops if hop.session_id == login.session_id), None)


def _host_of(login: Userauth, bindings: Bindings, now_s: float) -> tuple[bytes | None, bytes]:
    """The plain host key and its authority's; (None, b"") where they are not known."""
    hop = bound_for(login, bindings)
    if hop is not None and login.host_key not in (None, hop.host_key):
        return None, b""  # they contradict each other
    if hop is not None:
        certificate = hop.certificate
        return _certified(certificate, now_s) if certificate else (hop.host_key, b"")
    if login.host_key is None:
        return None, b""
    try:
        return read_host(login.host_key, now_s)
    except WireError:
        return None, b""


def read_host(blob: bytes, now_s: float) -> tuple[bytes, bytes]:
    """The same of a host key that nobody has verified yet; raises `WireError`."""
    if not read_algorithm(Reader(blob)).is_certificate:
        return blob, b""
    certificate = parse_certificate(blob)
    verify_certificate_signature(certificate)
    return _certified(certificate, now_s)


def _certified(certificate: Certificate, now_s: float) -> tuple[bytes, bytes]:
    """The plain key, and the authority if its certificate is one of a host and holds now."""
    holds = (
        certificate.type is CertificateType.HOST
        and certificate.valid_after <= now_s < certificate.valid_before
        and not certificate.critical_options
    )
    return certificate.public_key.blob, certificate.signature_key.blob if holds else b""
