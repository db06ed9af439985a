"""Destination constraints, associated certificates and session binds: form and limits."""

from __future__ import annotations

import pytest
from ssh_hosts import bind_body, blob_of, certificate_of, hop, step

from sshwire.agent.destinations import (
    MAX_DESTINATIONS,
    MAX_HOP_KEYS,
    MAX_SESSION_ID_BYTES,
    MAX_USER_PATTERN_BYTES,
    ORIGIN,
    AssociatedCertificates,
    Destination,
    Hop,
    HopKey,
    SessionBind,
    encode_associated_certificates,
    encode_destinations,
    encode_session_bind,
    parse_associated_certificates,
    parse_destinations,
    parse_session_bind,
)
from sshwire.errors import UnsupportedError, WireError
from sshwire.pubkey import parse_public_key
from sshwire.wire import encode_boolean, encode_string, encode_text

EMPTY = encode_string(b"")
UNKNOWN_KEY = encode_text("ssh-xmss@openssh.com") + b"whatever"

DESTINATIONS = (
    step("", "a"),
    step("a", "b", "ada*"),
    Destination(
        hop("b"),
        hop("c", "\udcff", HopKey(blob_of("ca"), is_ca=True), HopKey(UNKNOWN_KEY, is_ca=False)),
    ),
)


def raw_hop(
    user: bytes = b"", host: bytes = b"", reserved: bytes = b"", keys: bytes = b""
) -> bytes:
    return encode_string(encode_string(user) + encode_string(host) + encode_string(reserved) + keys)


def raw_key(blob: bytes) -> bytes:
    return encode_string(blob) + encode_boolean(False)


TO_A = raw_hop(host=b"a", keys=raw_key(blob_of("a")))


def raw(source: bytes, target: bytes, rest: bytes = EMPTY) -> bytes:
    return encode_string(encode_string(source + target + rest))


def test_destinations_survive_their_encoding() -> None:
    assert parse_destinations(encode_destinations(DESTINATIONS)) == DESTINATIONS
    assert raw(raw_hop(), TO_A) == encode_destinations((step("", "a"),))


def test_every_truncation_and_every_trailing_byte_is_refused() -> None:
    body = encode_destinations(DESTINATIONS)
    for size in range(len(body)):
        with pytest.raises(WireError):
            parse_destinations(body[:size])
    with pytest.raises(WireError):
        parse_destinations(body + b"\0")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(EMPTY, id="no constraint at all"),
        pytest.param(raw(raw_hop(user=b"ada"), TO_A), id="a user to come from"),
        pytest.param(raw(raw_hop(host=b"b"), TO_A), id="a source without keys"),
        pytest.param(raw(raw_hop(keys=raw_key(blob_of("b"))), TO_A), id="a source without name"),
        pytest.param(raw(raw_hop(), raw_hop(host=b"a")), id="a target without keys"),
        pytest.param(
            raw(raw_hop(), raw_hop(keys=raw_key(blob_of("a")))), id="a target without name"
        ),
        pytest.param(raw(raw_hop(), TO_A, EMPTY + b"\0"), id="bytes after a constraint"),
        pytest.param(raw(raw_hop(), raw_hop(host=b"a\0b", keys=raw_key(blob_of("a")))), id="a NUL"),
        pytest.param(
            raw(raw_hop(), raw_hop(host=b"a", keys=raw_key(blob_of("a")[:-1]))), id="a bad key"
        ),
        pytest.param(
            raw(
                raw_hop(),
                raw_hop(b"u" * (MAX_USER_PATTERN_BYTES + 1), b"a", keys=raw_key(blob_of("a"))),
            ),
            id="a long user",
        ),
    ],
)
def test_a_constraint_that_restricts_nothing_or_says_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_destinations(body)


@pytest.mark.parametrize(
    "body",
    [
        raw(raw_hop(), TO_A, encode_string(b"new")),
        raw(raw_hop(reserved=b"new"), TO_A),
        raw(raw_hop(), raw_hop(host=b"a", reserved=b"new", keys=raw_key(blob_of("a")))),
    ],
)
def test_what_a_later_version_adds_is_refused_and_not_dropped(body: bytes) -> None:
    with pytest.raises(UnsupportedError):
        parse_destinations(body)


def test_limits_hold_exactly() -> None:
    short = Destination(ORIGIN, hop("a", "u" * MAX_USER_PATTERN_BYTES))
    assert parse_destinations(encode_destinations((short,))) == (short,)
    many = (step("", "a"),) * MAX_DESTINATIONS
    assert len(parse_destinations(encode_destinations(many))) == MAX_DESTINATIONS
    with pytest.raises(WireError, match="more than 1024 destination"):
        parse_destinations(encode_destinations((*many, step("", "a"))))
    keys = (HopKey(blob_of("a"), is_ca=False),) * (MAX_HOP_KEYS + 1)
    with pytest.raises(WireError, match="more than 1024 keys"):
        parse_destinations(encode_destinations((Destination(ORIGIN, Hop("", "a", keys)),)))


def test_text_that_has_no_bytes_cannot_be_encoded() -> None:
    with pytest.raises(WireError):
        encode_destinations((step("", "a", "\ud800"),))


def test_associated_certificates_survive_their_encoding_and_are_checked() -> None:
    associated = AssociatedCertificates(
        certs_only=True,
        certificates=tuple(parse_public_key(certificate_of(name, "ca")) for name in "ab"),
    )
    body = encode_associated_certificates(associated)
    assert parse_associated_certificates(body) == associated
    for size in range(len(body)):
        with pytest.raises(WireError):
            parse_associated_certificates(body[:size])
    with pytest.raises(WireError):
        parse_associated_certificates(body + b"\0")


def test_an_associated_certificate_is_no_plain_key() -> None:
    with pytest.raises(WireError):
        parse_associated_certificates(b"\0" + encode_string(encode_string(blob_of("a"))))


def test_a_bind_survives_its_encoding() -> None:
    request = SessionBind(b"key", b"session", b"signature", is_forwarding=True)
    assert parse_session_bind(encode_session_bind(request)) == request
    assert parse_session_bind(encode_session_bind(request) + b"more") == request


def test_a_session_identifier_has_1_to_128_bytes() -> None:
    longest = b"s" * MAX_SESSION_ID_BYTES
    assert parse_session_bind(bind_body("a", longest)).session_id == longest
    for session_id in (b"", b"s" * (MAX_SESSION_ID_BYTES + 1)):
        with pytest.raises(WireError):
            parse_session_bind(bind_body("a", session_id))
