"""Where a store that signs by itself listens, and one signature over it.

    request: string password, string key blob, uint32 flags, string data
    reply:   byte 1, string signature | byte 0, string reason, string message | byte 2 (try again)

One connection is one signature, so whichever process of a store is free takes it, and one that dies
takes no other's request with it. The listener belongs to the supervisor and outlives those processes.
The password keeps out programs of the same user, which would get round policy and lock. Rule for
editors: every wait has an end.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from secretivex.identity import Signer
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.waiting import POLL_S, Wanted, always, receive_some
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, plain_public_key
from sshwire.pubkey import parse_public_key
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32

SIGN_S = 60.0
"""Longest wait for one signature, other requests of the store before it included."""

READ_S = 5.0
"""Longest wait of a store for a request whose connection is open."""

RETRIES = 2
"""How often a signature is asked for again of a store whose process ended over it or told us to."""

BACKLOG = 1024
MAX_MESSAGE_BYTES = 512 * 1024
"""A client's frame of 256 KiB and what stands before it."""

_PASSWORD_BYTES = 32
_REFUSED, _SIGNED, _AGAIN = 0, 1, 2


class TryAgainError(Exception):
    """The process that signs lost its token and ends; another one may sign."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listener and the password of who may use it."""

    listener: socket.socket
    address: str
    password: bytes = field(repr=False)

    def signer(self, at_a_time: int) -> Signer:
        """What a worker is told."""
        return Signer(self.address, self.password, at_a_time)

    def close(self) -> None:
        """Stop listening."""
        self.listener.close()
        if not self.address.startswith("\0"):
            import shutil  # nothing that every start should pay for

            shutil.rmtree(Path(self.address).parent, ignore_errors=True)


def open_endpoint() -> Endpoint:
    """Listen where nobody else can: under a name of the kernel's, or in a folder of our own."""
    listener = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":
        listener.bind("")  # unix(7): autobind gives a name that nobody has
    else:
        import tempfile

        listener.bind(str(Path(tempfile.mkdtemp(prefix="secretivex-")) / "store.sock"))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return Endpoint(listener, address_of(listener), secrets.token_bytes(_PASSWORD_BYTES))


def address_of(listener: socket.socket) -> str:
    """What clients connect to; an abstract name of Linux begins with a null character."""
    name = listener.getsockname()
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


class RemoteKey:
    """A key that a store's process signs with, behind the port of every key that signs."""

    def __init__(self, signer: Signer, key_blob: bytes) -> None:
        self._signer = signer
        self._key = plain_public_key(parse_public_key(key_blob))

    @property
    def lane(self) -> str:
        """Keys of one store wait for each other and for no other key."""
        return self._signer.address

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; raises `TokenError`."""
        return self.sign_while(always, data, flags)

    def sign_while(self, is_wanted: Wanted, data: bytes, flags: int = 0, /) -> bytes:
        """As `sign`, given up once nobody wants the signature any more."""
        end = time.monotonic() + SIGN_S
        request = (
            encode_string(self._signer.password)
            + encode_string(self._key.blob)
            + encode_uint32(flags)
            + encode_string(data)
        )
        for _ in range(RETRIES + 1):
            reply = self._ask(request, end, is_wanted)
            if reply is not None:
                return reply
        raise TokenError("store_crashed", "the store's process ends when it signs with this key")

    def _ask(self, request: bytes, end: float, is_wanted: Wanted) -> bytes | None:
        """None if another process should be asked."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(READ_S)
                connection.connect(self._signer.address)
                connection.sendall(encode_string(request))
                reply = _receive(connection, end, is_wanted)
        except TimeoutError as error:
            raise TokenError("token_timeout", "the store did not sign in time") from error
        except OSError:
            # Whoever had it is gone; its successor may take a moment to accept.
            time.sleep(POLL_S)
            return None
        return _parse_reply(reply)


def _parse_reply(reply: bytes | None) -> bytes | None:
    if reply is None:
        return None
    try:
        reader = Reader(reply)
        word = reader.byte()
        if word == _SIGNED:
            return reader.string()
        if word == _AGAIN:
            return None
        raise TokenError(reader.text(), reader.text())
    except WireError as error:
        raise TokenError("helper_failed", f"the store's answer: {error}") from error


def _receive(connection: socket.socket, end: float, is_wanted: Wanted) -> bytes | None:
    """One message; None if the other side closed first."""
    data = bytearray()
    while True:
        chunk = receive_some(connection, 65536, end, is_wanted)
        if not chunk:
            return None
        data += chunk
        if len(data) >= 4:
            length = int.from_bytes(data[:4], "big")
            if length > MAX_MESSAGE_BYTES:
                raise TokenError("helper_failed", f"a message of {length} bytes")
            if len(data) >= 4 + length:
                return bytes(data[4 : 4 + length])


Sign = Callable[[PublicKey, bytes, int], bytes]
"""Signs data by flags with a plain key; raises `TokenError`, or `TryAgainError`."""


def accept_one(listener: socket.socket) -> socket.socket | None:
    """A connection that waits, if another process was not quicker."""
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        return connection
    return None


def serve_one(connection: socket.socket, password: bytes, sign: Sign) -> None:
    """Read a request, answer it, close. `TryAgainError` of `sign` is passed on after the answer."""
    with connection:
        try:
            request = _receive(connection, time.monotonic() + READ_S, always)
            if request is None:
                return
        except (TimeoutError, TokenError, OSError):
            return
        again: TryAgainError | None = None
        try:
            reply = encode_byte(_SIGNED) + encode_string(_sign(request, password, sign))
        except TryAgainError as error:
            reply, again = encode_byte(_AGAIN), error
        except TokenError as error:
            reply = encode_byte(_REFUSED) + encode_text(error.reason) + encode_text(str(error))
        with contextlib.suppress(OSError):
            connection.settimeout(READ_S)
            connection.sendall(encode_string(reply))
    if again is not None:
        raise again


# Every request of a client names one of few keys.
_parse_key = lru_cache(maxsize=64)(parse_public_key)


def _sign(request: bytes, password: bytes, sign: Sign) -> bytes:
    try:
        reader = Reader(request)
        if not hmac.compare_digest(reader.string(), password):
            raise TokenError("not_allowed", "the caller is none of the agent's processes")
        key = _parse_key(reader.string())
        flags = reader.uint32()
        data = reader.string()
        reader.finish()
        return sign(key, data, flags)
    except WireError as error:
        raise TokenError("bad_request", str(error)) from error


def adopt_listener(descriptor: int) -> socket.socket:
    """The listener that a parent passed on."""
    listener = socket.socket(fileno=os.dup(descriptor))
    listener.setblocking(False)
    os.close(descriptor)
    return listener
