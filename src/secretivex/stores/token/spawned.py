"""A program of OpenSSH's at the other end of a socket, spoken to with deadlines.

Spawned, never forked from our own code: it shares no memory with keys, and it ends when its socket
closes. Rule for editors: every wait has an end, and a program that misses it is killed.
"""

from __future__ import annotations

import socket
import subprocess
import time

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.waiting import Wanted, always, receive_some

END_S = 1.0
"""How long a program may take to end once its socket is closed."""

_HEADER_BYTES = 4


class SpawnedHelper:
    """One child process; messages are length-prefixed both ways. For one thread at a time."""

    def __init__(self, program: str, max_reply_bytes: int) -> None:
        self._name = program.rpartition("/")[2]
        self._max_reply_bytes = max_reply_bytes
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [program],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self._socket.close()
                message = f"cannot run {program}: {error.strerror}"
                raise TokenError("helper_missing", message) from error

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ask(self, message: bytes, timeout_s: float, is_wanted: Wanted = always) -> bytes | None:
        """The answer to a message, without its length; None if the program ended instead."""
        end = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(message)
            header = self._receive(_HEADER_BYTES, end, is_wanted)
            if header is None:
                return None
            length = int.from_bytes(header, "big")
            if not 0 < length <= self._max_reply_bytes:
                raise TokenError("helper_failed", f"{self._name} answered with {length} bytes")
            return self._receive(length, end, is_wanted)
        except TimeoutError as error:
            raise TokenError("token_timeout", f"{self._name} did not answer in time") from error
        except OSError:
            return None

    def _receive(self, size: int, end: float, is_wanted: Wanted) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            chunk = receive_some(self._socket, size - len(data), end, is_wanted)
            if not chunk:
                return None
            data += chunk
        return bytes(data)

    def kill(self) -> None:
        """End it without a word; who waits for its answer learns that there is none."""
        self._process.kill()

    def close(self, patience_s: float = END_S) -> None:
        """Let it end; what does not is killed."""
        self._socket.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
