"""A process that has a PKCS#11 module loaded: lists a token's keys and signs, one request at a time.

Run as `python -m secretivex.stores.pkcs11.helper LISTENER CELL MEMORY_LOCK`, its channel as standard input. Many of
them accept from one listener. Rule for editors: it never starts a thread and never forks; what it cannot
mend it reports, and ends.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from secretivex.stores.hosting.asking import Answer, TryAgainError
from secretivex.stores.hosting.endpoint import accept_one, adopt_listener, serve_all
from secretivex.stores.hosting.process import become_store_process
from secretivex.stores.pkcs11.conversation import (
    BusyCell,
    FrameReader,
    encode_frame,
    keys_table,
    selector_from,
)
from secretivex.stores.pkcs11.login import open_token, still_there
from secretivex.stores.pkcs11.session import LostTokenError, TokenSession
from secretivex.stores.pkcs11.signing import TokenSigner, find_sign_call
from secretivex.stores.token.errors import TokenError
from sshwire.keyblob import PublicKey

_READ_BYTES = 65536


class Helper:
    """One module, one token, one session."""

    def __init__(self, channel: socket.socket, listener: socket.socket, cell: BusyCell) -> None:
        self._channel = channel
        self._listener = listener
        self._cell = cell
        self._reader = FrameReader()
        self._password = b""
        self._opened: TokenSession | None = None
        self._signer: TokenSigner | None = None

    def run(self) -> None:
        """Serve until the channel closes or the token is lost."""
        try:
            while self._opened is None:
                self._obey()
            while True:
                readable, _, _ = select.select([self._channel, self._listener], [], [])
                if self._channel in readable:
                    self._obey()
                elif (connection := accept_one(self._listener)) is not None:
                    serve_all(connection, self._password, self._sign_all)
        except (LostTokenError, TryAgainError) as error:
            self._say({"is": "lost", "reason": str(error)})
        except TokenError as error:
            self._say(
                {
                    "is": "refused",
                    "reason": error.reason,
                    "message": str(error),
                    "remedy": error.remedy,
                }
            )

    def _obey(self) -> None:
        data = self._channel.recv(_READ_BYTES)
        if not data:
            raise EOFError
        for message in self._reader.receive(data):
            if message["do"] == "open":
                self._open(message)
            elif self._opened is not None:
                with self._inside():
                    if not still_there(self._opened):
                        raise LostTokenError("the token is gone")
                    keys = self._opened.list_keys()
                self._say({"is": "keys", "keys": keys_table(keys)})

    def _open(self, message: dict[str, Any]) -> None:
        self._password = base64.b64decode(message["password"])
        pin = None if message["pin"] is None else base64.b64decode(message["pin"])
        with self._inside():
            opened = open_token(message["module"], selector_from(message["selector"]), pin)
            keys = opened.list_keys()
        self._opened = opened
        self._signer = TokenSigner(opened, find_sign_call(message["module"]), self._cell.enter)
        self._say({"is": "open", "token": opened.token, "keys": keys_table(keys)})

    def _sign_all(self, key: PublicKey, data: Sequence[bytes], flags: int) -> Sequence[Answer]:
        if self._signer is None:
            raise TryAgainError("no token is open")
        try:
            with self._inside():
                answers = self._signer.sign_all(key, data, flags)
        except LostTokenError as error:
            raise TryAgainError(str(error)) from error
        if any(_is_gone(answer) for answer in answers):
            self._say({"is": "stale"})
        return answers

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        self._cell.enter()
        try:
            yield
        finally:
            self._cell.leave()

    def _say(self, message: dict[str, Any]) -> None:
        self._channel.sendall(encode_frame(message))


def _is_gone(answer: Answer) -> bool:
    return isinstance(answer.outcome, TokenError) and answer.outcome.reason == "key_gone"


def main() -> None:
    """Be the process."""
    channel = become_store_process(sys.argv[3])
    with contextlib.suppress(EOFError, OSError):
        Helper(channel, adopt_listener(int(sys.argv[1])), BusyCell(int(sys.argv[2]))).run()
    # A module's own clean-up may hang: let the system do it.
    os._exit(0)


if __name__ == "__main__":
    main()
