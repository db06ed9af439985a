"""The private channel between the supervisor and one worker: framed messages over a socket pair.

A frame is a uint32 length, a kind byte and a body. Closing the channel ends the worker. Rule for
editors: a worker believes its supervisor; the supervisor believes no more than this module parses.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from secretivex.server.state import MAX_STATE_BYTES
from sshwire.errors import WireError
from sshwire.wire import Reader, encode_uint32

MAX_WORKER_FRAME_BYTES = 512 * 1024
"""Longest message from a worker: a client's frame and room for what we put before it."""

_HEADER_BYTES = 4


class Kind(IntEnum):
    """What a message is; below 64 from the supervisor, above from a worker."""

    STATE = 1
    """A `WorkerState`: answer with ACKNOWLEDGE once every later reply comes from it."""
    DRAIN = 2
    """uint32 ms: accept no more, finish what is in hand, exit."""
    ANSWER = 4
    """uint32 ticket, then JSON: to an ASK of the reporter."""
    SNAPSHOT = 5
    """To the reporter: write a snapshot now."""
    OUTCOME = 3
    """uint32 ticket, then a word: what came of a CHANGE, once every worker answers accordingly."""
    PULSE = 8
    """Nothing: answer with ALIVE."""
    ALIVE = 70
    """Nothing: the worker's loop turns."""
    PLAN = 7
    """To the reporter, first and with every reload: a `ReportPlan`."""
    ASK = 67
    """uint32 ticket, then a word: what the reporter wants to know or have done."""
    VERDICT = 6
    """uint32 ticket, then the word for why a person refused a QUESTION; nothing if they allowed it."""
    QUESTION = 68
    """uint32 ticket, then an `Asked`."""
    FORGET = 69
    """uint32 ticket of a QUESTION that nobody waits for any more."""
    ACKNOWLEDGE = 64
    """uint32 generation."""
    MODULE = 66
    """uint32 ticket, then a `LoadedModule`: a CHANGE for which a worker loaded a module."""
    CHANGE = 65
    """uint32 ticket, then a client's request. In LOCK and UNLOCK a derivation stands for the
    passphrase: salt and digest, or the digest alone."""


class Message(NamedTuple):
    """One message."""

    kind: Kind
    body: bytes


def encode_message(kind: Kind, body: bytes = b"") -> bytes:
    """As bytes for the channel."""
    return encode_uint32(1 + len(body)) + bytes((kind,)) + body


def encode_number(number: int) -> bytes:
    """The body of DRAIN and ACKNOWLEDGE."""
    return encode_uint32(number)


def parse_number(body: bytes) -> int:
    """The inverse; raises `WireError`."""
    reader = Reader(body)
    number = reader.uint32()
    reader.finish()
    return number


def encode_ticket(ticket: int, rest: bytes) -> bytes:
    """The body of CHANGE and OUTCOME."""
    return encode_uint32(ticket) + rest


def parse_ticket(body: bytes) -> tuple[int, bytes]:
    """The inverse; raises `WireError`."""
    reader = Reader(body)
    return reader.uint32(), reader.rest()


class MessageReader:
    """Cuts what arrives on a channel into messages; raises `WireError` for what is none."""

    def __init__(self, max_bytes: int = MAX_STATE_BYTES) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def receive(self, data: bytes) -> tuple[Message, ...]:
        """The messages that are now whole."""
        self._buffer += data
        messages: list[Message] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return tuple(messages)

    def _next(self) -> Message | None:
        if len(self._buffer) < _HEADER_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_HEADER_BYTES], "big")
        if not 1 <= length <= self._max_bytes:
            raise WireError(f"control message of {length} bytes")
        end = _HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        number, body = self._buffer[_HEADER_BYTES], bytes(self._buffer[_HEADER_BYTES + 1 : end])
        del self._buffer[:end]
        try:
            return Message(Kind(number), body)
        except ValueError as error:
            raise WireError(f"control message of unknown kind {number}") from error
