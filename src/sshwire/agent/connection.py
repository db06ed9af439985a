"""Framing and turn-taking of the agent protocol, without a socket: RFC 9987 sections 3 and 4.

Feed what arrived to `receive_data`, then call `next_frame` until it says `NEED_DATA`. A caller
that drains before it reads again holds at most one frame and one read at a time.

Rule for editors: nothing is allocated because a length field says so; memory follows the bytes
that have really arrived.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from sshwire.agent.numbers import FRAME_HEADER_BYTES, MAX_FRAME_BYTES
from sshwire.errors import WireError


class NeedData(Enum):
    """What `next_frame` answers while no whole frame has arrived."""

    NEED_DATA = "NEED_DATA"


NEED_DATA: Final = NeedData.NEED_DATA
"""No whole frame yet; an expected state, not an error."""


def encode_frame(payload: bytes, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """The payload with its length before it; raises `WireError` if a peer would refuse it."""
    _check_length(len(payload), max_frame_bytes)
    return len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a byte stream into frames, however the stream was cut before."""

    __slots__ = ("_buffer", "_max_frame_bytes", "_offset")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._max_frame_bytes = max_frame_bytes

    @property
    def buffered_bytes(self) -> int:
        """Bytes that arrived and were not handed out as a frame yet."""
        return len(self._buffer) - self._offset

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what arrived."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        self._buffer += data

    def next_frame(self) -> bytes | Literal[NeedData.NEED_DATA]:
        """The next whole payload, or `NEED_DATA`.

        Raises `WireError` for a length of zero or over the limit, as soon as the length itself
        has arrived and at every later call: the stream has no frame boundary any more.
        """
        start = self._offset + FRAME_HEADER_BYTES
        if len(self._buffer) < start:
            return NEED_DATA
        length = int.from_bytes(self._buffer[self._offset : start], "big")
        _check_length(length, self._max_frame_bytes)
        end = start + length
        if len(self._buffer) < end:
            return NEED_DATA
        # Through a view, so that the payload is copied once.
        with memoryview(self._buffer) as view:
            payload = bytes(view[start:end])
        self._offset = end
        return payload


class ClientTurns:
    """The client's side of one connection: every reply answers the oldest unanswered request."""

    __slots__ = ("_awaited", "_reader")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._reader = FrameReader(max_frame_bytes=max_frame_bytes)
        self._awaited = 0

    @property
    def awaited(self) -> int:
        """Requests sent that have no reply yet."""
        return self._awaited

    def send(self, payload: bytes) -> bytes:
        """The bytes to write for one request."""
        frame = encode_frame(payload)
        self._awaited += 1
        return frame

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what arrived."""
        self._reader.receive_data(data)

    def next_reply(self) -> bytes | Literal[NeedData.NEED_DATA]:
        """The next whole reply; raises `WireError` for one that nobody asked for."""
        if self._awaited == 0:
            if self._reader.buffered_bytes:
                raise WireError("the agent sent data without a request")
            return NEED_DATA
        frame = self._reader.next_frame()
        if frame is not NEED_DATA:
            self._awaited -= 1
        return frame


def _check_length(length: int, max_frame_bytes: int) -> None:
    if length == 0:
        raise WireError("a frame must hold at least its message number")
    if length > max_frame_bytes:
        raise WireError(f"frame of {length} bytes is over the limit of {max_frame_bytes}")
