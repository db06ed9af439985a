"""Whatever a client sends, the engine answers it with one frame or one job, and raises nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secretivex.engine import Engine, Reply, SignJob, SignOutcome
from secretivex.identity import Identity
from secretivex.key_table import build_entry, build_table
from secretivex.peer import Peer
from secretivex.policy import Decision, SignQuery
from sshwire.agent.connection import FrameReader
from sshwire.agent.replies import parse_reply
from sshwire.agent.requests import SignRequest, encode_request
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
    answer = make_engine().handle(memoryview(payload[: cut + 1]), ME, 0.0)
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
    check_one_frame(engine.complete(answer, SignOutcome(b"signature"), 0.0))
