"""What a connection remembers of session binds, accepted and refused."""

from __future__ import annotations

import pytest
from ssh_hosts import bind_body, blob_of, certificate_of, key_of, path, session_of

from secretivex.context.bindings import MAX_BINDS, UNBOUND, Bindings, bind
from sshwire.agent.destinations import SessionBind, encode_session_bind

SESSION = session_of(0)


def signed(host_key: bytes, session_id: bytes, signature: bytes) -> bytes:
    return encode_session_bind(SessionBind(host_key, session_id, signature, is_forwarding=False))


def test_a_bind_is_remembered_with_what_it_was_for() -> None:
    for forwarding in (False, True):
        bindings, refusal = bind(UNBOUND, bind_body("a", SESSION, forwarding=forwarding))
        assert refusal == ""
        (binding,) = bindings.hops
        assert (binding.host_key, binding.session_id) == (blob_of("a"), SESSION)
        assert binding.is_forwarding is bindings.is_remote is forwarding
        assert bindings.is_attempted


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "bind_malformed"),
        (bind_body("a", SESSION)[:-1], "bind_malformed"),
        (bind_body("a", b""), "bind_malformed"),
        (bind_body("a", b"s" * 129), "bind_malformed"),
        (bind_body("a", SESSION, host_key=b"\0\0\0\x01x"), "bind_malformed"),
        (bind_body("a", SESSION, host_key=blob_of("b")), "bind_bad_signature"),
        (signed(blob_of("a"), SESSION, key_of("a").sign(b"other")), "bind_bad_signature"),
        (signed(blob_of("a"), SESSION, b""), "bind_bad_signature"),
        (
            bind_body("a", SESSION, host_key=certificate_of("a", "ca")[:-1] + b"\0"),
            "bind_bad_certificate",
        ),
        (bind_body("b", SESSION, host_key=certificate_of("a", "ca")), "bind_bad_signature"),
    ],
)
@pytest.mark.parametrize("before", [UNBOUND, path("x", arrived=False)])
def test_a_refused_bind_is_remembered_as_an_attempt_from_elsewhere(
    before: Bindings, body: bytes, word: str
) -> None:
    after, refusal = bind(before, body)
    assert refusal == word
    assert after == Bindings(before.hops, is_attempted=True, is_remote=True)


def test_a_host_certificate_is_bound_as_it_came() -> None:
    blob = certificate_of("a", "ca", "a", "b")
    bindings, refusal = bind(UNBOUND, bind_body("a", SESSION, host_key=blob))
    assert refusal == ""
    assert bindings.hops[0].host_key == blob
    certificate = bindings.hops[0].certificate
    assert certificate is not None
    assert certificate.principals == ("a", "b")


def test_the_same_forwarding_bind_may_come_again_and_changes_nothing() -> None:
    first = path("a", "b", arrived=False)
    for forwarding in (True, False):
        again, refusal = bind(first, bind_body("a", session_of(0), forwarding=forwarding))
        assert (again, refusal) == (first, "")


def test_a_session_belongs_to_one_host() -> None:
    bindings, refusal = bind(path("a", arrived=False), bind_body("b", session_of(0)))
    assert refusal == "bind_other_host_key"
    assert len(bindings.hops) == 1


def test_one_host_may_have_many_sessions() -> None:
    assert len(path("a", "a", "b", "a").hops) == 4


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("forwarding", [False, True])
def test_after_a_bind_for_a_login_there_is_no_other(number: int, *, forwarding: bool) -> None:
    before = path("a", "b")
    after, refusal = bind(before, bind_body("b", session_of(number), forwarding=forwarding))
    assert refusal == "bind_after_login"
    assert after.hops == before.hops


def test_there_are_sixteen_binds_at_most() -> None:
    full = path(*"a" * MAX_BINDS, arrived=False)
    bindings, refusal = bind(full, bind_body("a", session_of(MAX_BINDS)))
    assert refusal == "bind_limit"
    assert bindings.hops == full.hops
    assert bind(full, bind_body("a", session_of(3))).refusal == ""


def test_a_connection_never_becomes_local_again() -> None:
    bindings, _ = bind(path("a", arrived=False), bind_body("b", session_of(1)))
    assert bindings.is_remote
    for body in (b"junk", bind_body("c", session_of(2)), bind_body("a", session_of(0))):
        bindings, _ = bind(bindings, body)
        assert bindings.is_remote
