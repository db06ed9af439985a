"""Where a store that signs by itself listens, and how it is asked and answers there.

One connection is one request (`asking`), so whichever process of a store is free takes it, and one that
dies takes no other's request with it. The listener belongs to the supervisor and outlives those processes.
The password keeps out programs of the same user, which would get round policy and lock. Rule for
editors: every wait has an end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secretivex.identity import Signer
from secretivex.stores.hosting.asking import (
    Sign,
    SignAll,
    TryAgainError,
    answer_asking,
    cut_message,
    encode_again,
    encode_asking,
    encode_opening,
    one_by_one,
    parse_answers,
)
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.waiting import POLL_S, Wanted, always, receive_some
from sshwire.keyblob import plain_public_key
from sshwire.pubkey import parse_public_key

SIGN_S = 60.0
"""Longest wait for one signature, other requests of the store before it included."""

READ_S = 5.0
"""Longest wait of a store for a request whose connection is open."""

RETRIES = 2
"""How often a signature is asked for again of a store whose process ended over it or told us to."""

BACKLOG = 1024

_PASSWORD_BYTES = 32


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
        self.address = signer.address
        plain = plain_public_key(parse_public_key(key_blob))
        self._opening = encode_opening(signer.password, plain.blob)

    @property
    def lane(self) -> str:
        """Keys of one store wait for each other and for no other key."""
        return self.address

    def asking(self, flags: int, data: Sequence[bytes]) -> bytes:
        """The request for signatures of all of `data`."""
        return encode_asking(self._opening, flags, data)

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; raises `TokenError`."""
        return self.sign_while(always, data, flags)

    def sign_while(self, is_wanted: Wanted, data: bytes, flags: int = 0, /) -> bytes:
        """As `sign`, given up once nobody wants the signature any more."""
        end = time.monotonic() + SIGN_S
        request = self.asking(flags, (data,))
        for _ in range(RETRIES + 1):
            message = self._ask(request, end, is_wanted)
            answers = None if message is None else parse_answers(message, 1)
            if answers is None:
                continue
            outcome = answers[0].outcome
            if isinstance(outcome, TokenError):
                raise outcome
            return outcome
        raise crashed()

    def _ask(self, request: bytes, end: float, is_wanted: Wanted) -> bytes | None:
        """None if whoever had it is gone."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(READ_S)
                connection.connect(self.address)
                connection.sendall(request)
                return _receive(connection, end, is_wanted)
        except TimeoutError as error:
            raise late() from error
        except OSError:
            # Its successor may take a moment to accept.
            time.sleep(POLL_S)
            return None


def crashed() -> TokenError:
    """Each process that was asked ended."""
    return TokenError("store_crashed", "the store's process ends when it signs with this key")


def late() -> TokenError:
    """The wait is over."""
    return TokenError("token_timeout", "the store did not sign in time")


def _receive(connection: socket.socket, end: float, is_wanted: Wanted) -> bytes | None:
    """One message; None if the other side closed first."""
    data = bytearray()
    while True:
        chunk = receive_some(connection, 65536, end, is_wanted)
        if not chunk:
            return None
        data += chunk
        message = cut_message(data)
        if message is not None:
            return message


def accept_one(listener: socket.socket) -> socket.socket | None:
    """A connection that waits, if another process was not quicker."""
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        return connection
    return None


def serve_one(connection: socket.socket, password: bytes, sign: Sign) -> None:
    """Answer the request of a connection, its signatures made one by one, and close it."""
    serve_all(connection, password, one_by_one(sign))


def serve_all(connection: socket.socket, password: bytes, sign_all: SignAll) -> None:
    """The same where one call makes them; `TryAgainError` is passed on after the answer."""
    with connection:
        try:
            request = _receive(connection, time.monotonic() + READ_S, always)
            if request is None:
                return
        except (TimeoutError, TokenError, OSError):
            return
        again: TryAgainError | None = None
        try:
            answer = answer_asking(request, password, sign_all)
        except TryAgainError as error:
            answer, again = encode_again(), error
        with contextlib.suppress(OSError):
            connection.settimeout(READ_S)
            connection.sendall(answer)
    if again is not None:
        raise again


def adopt_listener(descriptor: int) -> socket.socket:
    """The listener that a parent passed on."""
    listener = socket.socket(fileno=os.dup(descriptor))
    listener.setblocking(False)
    os.close(descriptor)
    return listener
