"""Frames come out the same however the stream was cut, and impossible ones are refused at once."""

import pytest

from sshwire.agent.connection import NEED_DATA, ClientTurns, FrameReader, encode_frame
from sshwire.agent.numbers import MAX_FRAME_BYTES
from sshwire.errors import WireError

PAYLOADS = [b"\x0b", b"\x0d" + bytes(300), b"\x05"]
STREAM = b"".join(map(encode_frame, PAYLOADS))


def drain(reader: FrameReader) -> list[bytes]:
    frames = []
    while (frame := reader.next_frame()) is not NEED_DATA:
        frames.append(frame)
    return frames


def test_frames_arrive_whole() -> None:
    reader = FrameReader()
    reader.receive_data(STREAM)
    assert drain(reader) == PAYLOADS
    assert reader.buffered_bytes == 0


def test_frames_arrive_byte_by_byte() -> None:
    reader = FrameReader()
    frames = []
    for index in range(len(STREAM)):
        reader.receive_data(STREAM[index : index + 1])
        frames += drain(reader)
    assert frames == PAYLOADS


def test_trailing_bytes_wait_for_their_frame() -> None:
    reader = FrameReader()
    reader.receive_data(STREAM + b"\0\0\0\x02\x05")
    assert drain(reader) == PAYLOADS
    assert reader.buffered_bytes == 5
    reader.receive_data(b"\x06")
    assert drain(reader) == [b"\x05\x06"]


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_impossible_length_is_refused_when_the_length_has_arrived(length: int) -> None:
    reader = FrameReader()
    header = length.to_bytes(4, "big")
    reader.receive_data(header[:3])
    assert reader.next_frame() is NEED_DATA
    reader.receive_data(header[3:])
    for _ in range(2):
        with pytest.raises(WireError):
            reader.next_frame()
        reader.receive_data(encode_frame(b"\x0b"))


def test_longest_frame_passes_both_ways() -> None:
    reader = FrameReader()
    reader.receive_data(encode_frame(bytes(MAX_FRAME_BYTES)))
    assert drain(reader) == [bytes(MAX_FRAME_BYTES)]


@pytest.mark.parametrize("payload", [b"", bytes(MAX_FRAME_BYTES + 1)])
def test_impossible_frame_is_not_sent(payload: bytes) -> None:
    with pytest.raises(WireError):
        encode_frame(payload)


def test_a_length_alone_takes_no_memory() -> None:
    reader = FrameReader()
    reader.receive_data(MAX_FRAME_BYTES.to_bytes(4, "big"))
    assert reader.next_frame() is NEED_DATA
    assert reader.buffered_bytes == 4


def test_every_reply_needs_a_request() -> None:
    turns = ClientTurns()
    assert turns.send(b"\x0b") + turns.send(b"\x13") == encode_frame(b"\x0b") + encode_frame(
        b"\x13"
    )
    assert turns.next_reply() is NEED_DATA
    turns.receive_data(encode_frame(b"\x0c\0\0\0\0") + encode_frame(b"\x06"))
    assert turns.next_reply() == b"\x0c\0\0\0\0"
    assert turns.awaited == 1
    assert turns.next_reply() == b"\x06"
    assert turns.next_reply() is NEED_DATA
    turns.receive_data(b"\0")
    with pytest.raises(WireError, match="without a request"):
        turns.next_reply()
