"""Whatever bytes come in, nothing but a `WireError` comes out, and what was made can be read."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshwire.agent.connection import NEED_DATA, FrameReader, encode_frame
from sshwire.agent.constraints import (
    ASSOCIATED_CERTS,
    RESTRICT_DESTINATION,
    ConstraintExtension,
    Constraints,
)
from sshwire.agent.replies import (
    ExtensionResponse,
    IdentitiesAnswer,
    Identity,
    Reply,
    SignResponse,
    encode_reply,
    parse_reply,
)
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    LockRequest,
    RemoveRequest,
    Request,
    SignRequest,
    UnlockRequest,
    encode_request,
    parse_request,
)
from sshwire.allowed_signers import parse_allowed_signers, parse_timestamp
from sshwire.errors import WireError
from sshwire.patterns import match_pattern, match_pattern_list
from sshwire.sshsig import encode_sshsig, is_canonical, parse_sshsig
from sshwire.wire import encode_string

BYTES = st.binary(max_size=200)
# UTF-8 has no lone surrogates, and names on the wire have no NUL.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
UINT32 = st.integers(0, 0xFFFFFFFF)
EXTENSIONS = st.one_of(
    BYTES.map(lambda data: ConstraintExtension(RESTRICT_DESTINATION, encode_string(data))),
    BYTES.map(lambda data: ConstraintExtension(ASSOCIATED_CERTS, b"\x01" + encode_string(data))),
)
CONSTRAINTS = st.builds(
    Constraints,
    lifetime_s=st.none() | UINT32,
    confirm=st.booleans(),
    extensions=st.lists(EXTENSIONS, max_size=2, unique_by=lambda e: e.name).map(tuple),
)
REQUESTS = st.one_of(
    st.builds(SignRequest, BYTES, BYTES, UINT32),
    st.builds(RemoveRequest, BYTES),
    st.builds(LockRequest, BYTES),
    st.builds(UnlockRequest, BYTES),
    st.builds(ExtensionRequest, NAMES, BYTES),
    st.builds(AddSmartcardRequest, NAMES, BYTES, CONSTRAINTS),
    st.builds(
        AddRequest,
        st.just("ssh-ed25519"),
        st.builds(lambda a, b: encode_string(a) + encode_string(b), BYTES, BYTES),
        NAMES,
        CONSTRAINTS,
    ),
)
REPLIES = st.one_of(
    st.builds(SignResponse, BYTES),
    st.builds(ExtensionResponse, NAMES, BYTES),
    st.lists(st.builds(Identity, BYTES, NAMES), max_size=5).map(
        lambda found: IdentitiesAnswer(tuple(found))
    ),
)
MESSAGE_NUMBERS = st.sampled_from([5, 6, 9, 11, 12, 13, 14, 17, 18, 20, 21, 22, 25, 26, 27, 28, 29])


@pytest.mark.parametrize("parse", [parse_request, parse_reply])
@given(number=MESSAGE_NUMBERS, body=st.binary(max_size=400))
def test_parsers_raise_wire_errors_only(
    parse: Callable[[bytes], Any], number: int, body: bytes
) -> None:
    with suppress(WireError):
        parse(bytes((number,)) + body)


@given(request=REQUESTS)
def test_requests_survive_their_encoding(request: Request) -> None:
    assert parse_request(encode_request(request)) == request


@given(reply=REPLIES)
def test_replies_survive_their_encoding(reply: Reply) -> None:
    assert parse_reply(encode_reply(reply)) == reply


@given(request=REQUESTS, data=st.data())
def test_cut_and_flipped_requests_raise_wire_errors_only(
    request: Request, data: st.DataObject
) -> None:
    payload = bytearray(encode_request(request))
    index = data.draw(st.integers(0, len(payload) - 1))
    payload[index] ^= data.draw(st.integers(0, 255))
    with suppress(WireError):
        parse_request(payload[: data.draw(st.integers(0, len(payload)))])


@given(payloads=st.lists(st.binary(min_size=1, max_size=50), max_size=6), data=st.data())
def test_framing_does_not_depend_on_how_the_stream_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(encode_frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, frames = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.receive_data(stream[start:end])
        while (frame := reader.next_frame()) is not NEED_DATA:
            frames.append(frame)
    assert frames == payloads
    assert reader.buffered_bytes == 0


@given(stream=st.binary(max_size=300))
def test_any_stream_gives_frames_or_a_wire_error(stream: bytes) -> None:
    reader = FrameReader(max_frame_bytes=64)
    reader.receive_data(stream)
    with suppress(WireError):
        while (frame := reader.next_frame()) is not NEED_DATA:
            assert 0 < len(frame) <= 64


@given(blob=st.binary(max_size=300), junk=st.binary(max_size=60))
def test_sshsig_parser_raises_wire_errors_only(blob: bytes, junk: bytes) -> None:
    import base64

    body = base64.b64encode(b"SSHSIG\0\0\0\x01" + blob)
    armored = b"-----BEGIN SSH SIGNATURE-----\n" + body + b"\n-----END SSH SIGNATURE-----\n"
    for candidate in (armored, junk, armored[:40] + junk + armored[40:]):
        with suppress(WireError):
            parsed = parse_sshsig(candidate)
            assert is_canonical(encode_sshsig(parsed)) or parsed.reserved


WORDS = ["me@x", "namespaces", "valid-after", "cert-authority", "20260101Z", "ssh-ed25519"]
KEYS = ["AAAA", "AAAAC3NzaC1lZDI1NTE5"]
TOKENS = st.sampled_from([*WORDS, *KEYS, *' \t\n\r\0\\"*,=!#'])


@given(text=st.one_of(st.text(max_size=80), st.lists(TOKENS, max_size=15).map("".join)))
def test_allowed_signers_parser_raises_wire_errors_only(text: str) -> None:
    with suppress(WireError):
        parse_allowed_signers(text)
    with suppress(WireError):
        parse_timestamp(text)


@given(text=st.text("ab", max_size=8), pattern=st.text("ab*?", max_size=8))
def test_patterns_match_as_the_naive_definition_says(text: str, pattern: str) -> None:
    def naive(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(naive(text[cut:], pattern[1:]) for cut in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and naive(text[1:], pattern[1:])

    assert match_pattern(text, pattern) is naive(text, pattern)
    assert match_pattern_list(text, f"{pattern},!{pattern}") is False
