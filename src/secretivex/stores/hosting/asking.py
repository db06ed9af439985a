"""What is said over a store's endpoint: one request, for one or more signatures by one key.

    request: string password, string key blob, uint32 flags, string data, of which there may be more
    answer:  byte 2 (try again), or in the order of the data, each of them:
             byte 1, uint64 when its making began, uint64 when it ended, string signature
             | byte 0, string reason, string message

An answer that breaks off after a refusal means it for the rest too. Times are nanoseconds of the clock
that all processes of a system share. Rule for editors: no bytes of the other side's go unchecked, and
how many signatures a request may ask for is bounded.
"""

from __future__ import annotations

import hmac
import struct
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from secretivex.stores.token.errors import TokenError
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32

MAX_MESSAGE_BYTES = 512 * 1024
"""A client's frame of 256 KiB and what stands before it."""

MAX_AT_ONCE = 16
"""Signatures of one request."""

_REFUSED, _SIGNED, _AGAIN = 0, 1, 2
_PER_SECOND = 1_000_000_000
_SIGNED_HEAD = struct.Struct(">BQQI")
"""What stands before a signature: byte, two times, its length."""


class TryAgainError(Exception):
    """The process that signs lost its token and ends; another one may sign."""


class Answer(NamedTuple):
    """What became of one signature, and its making by `time.monotonic`, 0 where there is none."""

    outcome: bytes | TokenError
    begun_s: float = 0.0
    ended_s: float = 0.0


Sign = Callable[[PublicKey, bytes, int], bytes]
"""Signs data by flags with a plain key; raises `TokenError`, or `TryAgainError`."""

SignAll = Callable[[PublicKey, Sequence[bytes], int], Sequence[Answer]]
"""The same of several data, an answer for each; raises `TokenError` for all, or `TryAgainError`."""


def encode_opening(password: bytes, key_blob: bytes) -> bytes:
    """How every request for a key begins."""
    return encode_string(password) + encode_string(key_blob)


def encode_asking(opening: bytes, flags: int, data: Sequence[bytes]) -> bytes:
    """A request for signatures of all of `data`, with its length."""
    return encode_string(opening + encode_uint32(flags) + b"".join(map(encode_string, data)))


def cut_message(received: bytearray) -> bytes | None:
    """The message that was received, without its length; None while it is not whole."""
    if len(received) < 4:
        return None
    length = int.from_bytes(received[:4], "big")
    if length > MAX_MESSAGE_BYTES:
        raise TokenError("helper_failed", f"a message of {length} bytes")
    return bytes(received[4 : 4 + length]) if len(received) >= 4 + length else None


def parse_answers(message: bytes, count: int) -> tuple[Answer, ...] | None:
    """What became of `count` signatures; None if another process should be asked."""
    try:
        reader = Reader(message)
        answers: list[Answer] = []
        while len(answers) < count:
            word = reader.byte()
            if word == _AGAIN:
                return None
            if word == _SIGNED:
                begun_s, ended_s = reader.uint64() / _PER_SECOND, reader.uint64() / _PER_SECOND
                answers.append(Answer(reader.string(), begun_s, ended_s))
                continue
            answers.append(Answer(TokenError(reader.text(), reader.text())))
            if not reader.remaining:
                answers += answers[-1:] * (count - len(answers))
        reader.finish()
    except WireError as error:
        raise TokenError("helper_failed", f"the store's answer: {error}") from error
    return tuple(answers)


# Every request of a client names one of few keys.
_parse_key = lru_cache(maxsize=64)(parse_public_key)


def answer_asking(request: bytes, password: bytes, sign_all: SignAll) -> bytes:
    """The answer to a request, with its length; raises `TryAgainError`."""
    try:
        reader = Reader(request)
        if not hmac.compare_digest(reader.string(), password):
            raise TokenError("not_allowed", "the caller is none of the agent's processes")
        key = _parse_key(reader.string())
        flags = reader.uint32()
        data = [reader.string()]
        while reader.remaining:
            data.append(reader.string())
        if len(data) > MAX_AT_ONCE:
            raise TokenError("bad_request", f"{len(data)} signatures at once")
        answers = sign_all(key, data, flags)
    except WireError as error:
        answers = (Answer(TokenError("bad_request", str(error))),)
    except TokenError as error:
        answers = (Answer(error),)
    return encode_string(b"".join(map(_encode_answer, answers)))


def encode_again() -> bytes:
    """The answer of a process that cannot sign any more."""
    return encode_string(encode_byte(_AGAIN))


def one_by_one(sign: Sign) -> SignAll:
    """For what signs one after another."""

    def sign_all(key: PublicKey, data: Sequence[bytes], flags: int) -> list[Answer]:
        return [_sign_one(sign, key, one, flags) for one in data]

    return sign_all


def _sign_one(sign: Sign, key: PublicKey, data: bytes, flags: int) -> Answer:
    begun_s = time.monotonic()
    try:
        return Answer(sign(key, data, flags), begun_s, time.monotonic())
    except TokenError as error:
        return Answer(error)


def _encode_answer(answer: Answer) -> bytes:
    outcome, begun_s, ended_s = answer
    if isinstance(outcome, TokenError):
        return encode_byte(_REFUSED) + encode_text(outcome.reason) + encode_text(str(outcome))
    times = int(begun_s * _PER_SECOND), int(ended_s * _PER_SECOND)
    return _SIGNED_HEAD.pack(_SIGNED, *times, len(outcome)) + outcome
