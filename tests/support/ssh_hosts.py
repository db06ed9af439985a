"""Hosts, certificates, binds and logins for tests of session binds and destination constraints.

Everything follows from names: the same name is the same key in every test.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secretivex.context.bindings import UNBOUND, Bindings, bind
from sshwire.agent.destinations import (
    ORIGIN,
    Destination,
    Hop,
    HopKey,
    SessionBind,
    encode_session_bind,
)
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey
from sshwire.wire import (
    encode_boolean,
    encode_byte,
    encode_string,
    encode_text,
    encode_uint32,
    encode_uint64,
)

FOREVER = 0xFFFFFFFFFFFFFFFF
CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com"


@cache
def key_of(name: str) -> PrivateKey:
    """The Ed25519 key of a host, user or authority."""
    secret = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    blob = encode_text("ssh-ed25519") + encode_string(secret.public_key().public_bytes_raw())
    return PrivateKey(PublicKey("ssh-ed25519", blob), name, secret)


def blob_of(name: str) -> bytes:
    """The public key of a name."""
    return key_of(name).public.blob


def certificate_of(
    name: str,
    authority: str,
    *principals: str,
    cert_type: int = 2,
    valid: tuple[int, int] = (0, FOREVER),
    options: bytes = b"",
) -> bytes:
    """A certificate of a name's key; for its own name unless told otherwise."""
    names = b"".join(map(encode_text, principals or (name,)))
    body = (
        encode_text(CERTIFICATE)
        + encode_string(b"nonce")
        + blob_of(name)[len(encode_text("ssh-ed25519")) :]
        + encode_uint64(0)
        + encode_uint32(cert_type)
        + encode_text(name)
        + encode_string(names)
        + encode_uint64(valid[0])
        + encode_uint64(valid[1])
        + encode_string(options)
        + encode_string(b"")
        + encode_string(b"")
        + encode_string(blob_of(authority))
    )
    return body + encode_string(key_of(authority).sign(body))


def bind_body(
    host: str, session_id: bytes, *, forwarding: bool = False, host_key: bytes | None = None
) -> bytes:
    """A session-bind request that the host has signed."""
    blob = blob_of(host) if host_key is None else host_key
    return encode_session_bind(
        SessionBind(blob, session_id, key_of(host).sign(session_id), forwarding)
    )


def session_of(number: int) -> bytes:
    """The session identifier of a hop by its place in the path."""
    return bytes([number]) * 32


def path(*hosts: str, arrived: bool = True) -> Bindings:
    """A connection bound along hosts; the last bind is for a login where it has `arrived`."""
    bindings = UNBOUND
    for number, host in enumerate(hosts):
        is_login = arrived and number == len(hosts) - 1
        body = bind_body(host, session_of(number), forwarding=not is_login)
        bindings, refusal = bind(bindings, body)
        assert refusal == ""
    return bindings


def hop(host: str, user: str = "", *keys: HopKey) -> Hop:
    """A host with its own key, or with those given."""
    return Hop(user, host, keys or (HopKey(blob_of(host), is_ca=False),))


def step(source: str, target: str, user: str = "") -> Destination:
    """A permitted step between hosts; the empty source is the agent's machine."""
    return Destination(hop(source) if source else ORIGIN, hop(target, user))


def login_data(
    session_id: bytes,
    key: str = "key",
    user: str = "ada",
    host: bytes | None = None,
    *,
    service: str = "ssh-connection",
    algorithm: str = "ssh-ed25519",
) -> bytes:
    """What a client asks to be signed to log in; host-bound where a host key is given."""
    method = "publickey" if host is None else "publickey-hostbound-v00@openssh.com"
    return (
        encode_string(session_id)
        + encode_byte(50)
        + encode_string(user.encode(errors="surrogateescape"))
        + encode_text(service)
        + encode_text(method)
        + encode_boolean(True)
        + encode_text(algorithm)
        + encode_string(blob_of(key))
        + (b"" if host is None else encode_string(host))
    )
