"""Whatever a client sends, the engine answers it with one frame or one job, and raises nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ssh_hosts import bind_body, session_of, step

from secretivex.context.bindings import UNBOUND
from secretivex.engine import Engine, Reply, SignJob
from secretivex.identity import Identity
from secretivex.key_table import build_entry, build_table
from secretivex.peer import Peer
from secretivex.policy import Decision, SignQuery
from sshwire.agent.connection import FrameReader
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.replies import parse_reply
from sshwire.agent.requests import (
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveRequest,
    Request,
    SignRequest,
    encode_request,
)
from sshwire.wire import encode_string, encode_text

ME = Peer(1000, 1000)
BLOB = encode_text("ssh-ed25519") + encode_string(bytes(32))
NUMBERS = st.sampled_from([0, 1, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 200, 255])


class ConstantKey:
    def sign(self, _data: bytes, _flags: int = 0) -> bytes:
        return b"signature"


def allow(_query: SignQuery) -> Decision:
    return Decision(allowed=True, rule="", reason="no_rules")


def make_engine() -> Engine:
    identity = Identity(BLOB, "key", "ssh-ed25519", "file")
    return Engine(allow, build_table(1, [build_entry(identity, ConstantKey())]))


def bind_request(host: str, number: int, *, forwarding: bool) -> Request:
    body = bind_body(host, session_of(number), forwarding=forwarding)
    return ExtensionRequest(SESSION_BIND, body)


REQUESTS = st.one_of(
    st.builds(bind_request, st.sampled_from("ab"), st.integers(0, 3), forwarding=st.booleans()),
    st.builds(ExtensionRequest, st.just(SESSION_BIND), st.binary(max_size=40)),
    st.builds(SignRequest, st.just(BLOB), st.binary(max_size=40)),
    st.sampled_from([ListRequest(), RemoveRequest(BLOB), LockRequest(b"x")]),
)


def check_one_frame(reply: Reply) -> None:
    reader = FrameReader()
    reader.receive_data(reply.frame)
    payload = reader.next_frame()
    assert isinstance(payload, bytes)
    assert reader.buffered_bytes == 0
    parse_reply(payload)


@given(number=NUMBERS, rest=st.binary(max_size=300))
def test_noise_behind_any_number(number: int, rest: bytes) -> None:
    answer = make_engine().handle(bytes([number]) + rest, ME, 0.0)
    if isinstance(answer, Reply):
        check_one_frame(answer)


@given(
    number=NUMBERS,
    fields=st.lists(st.binary(max_size=40), max_size=8),
    cut=st.integers(min_value=0, max_value=400),
)
def test_fields_that_nearly_fit(number: int, fields: list[bytes], cut: int) -> None:
    payload = bytes([number]) + b"".join(map(encode_string, fields))
    answer = make_engine().handle(payload[: cut + 1], ME, 0.0)
    if isinstance(answer, Reply):
        check_one_frame(answer)


@given(data=st.binary(max_size=200), flags=st.integers(min_value=0, max_value=2**32 - 1))
def test_a_known_key_signs_for_known_flags_and_for_no_other(data: bytes, flags: int) -> None:
    engine = make_engine()
    answer = engine.handle(encode_request(SignRequest(BLOB, data, flags)), ME, 0.0)
    if flags & ~6:
        assert isinstance(answer, Reply)
        assert answer.outcome == "unsupported_flags"
        return
    assert isinstance(answer, SignJob)
    assert (answer.data, answer.flags) == (data, flags)
    check_one_frame(engine.complete(answer, b"signature", 0.0))


@given(requests=st.lists(REQUESTS, max_size=12))
def test_a_conversation_never_gets_more_from_a_restricted_key_than_it_had(
    requests: list[Request],
) -> None:
    """Whatever it binds, a connection is never less remote, and noise is never signed."""
    identity = Identity(BLOB, "key", "ssh-ed25519", "memory")
    entry = build_entry(identity, ConstantKey(), destinations=(step("", "a"), step("a", "b")))
    engine, bindings = Engine(allow, build_table(1, [entry])), UNBOUND
    for request in requests:
        answer = engine.handle(encode_request(request), ME, 0.0, bindings)
        assert not isinstance(answer, SignJob)
        if isinstance(answer, Reply):
            check_one_frame(answer)
            if answer.bindings is not None:
                assert answer.bindings.is_remote or not bindings.is_remote
                assert answer.bindings.hops[: len(bindings.hops)] == bindings.hops
                bindings = answer.bindings
        else:
            assert not bindings.is_remote
