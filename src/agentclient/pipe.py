"""A connection to an agent behind a Windows named pipe, with a deadline on every step.

Python opens a pipe as it opens a file, so nothing else is needed; not yet run on Windows. Rule for
editors: a pipe without a free instance is busy for a moment, and is tried again until the deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from agentclient.address import explain
from agentclient.errors import AgentTimeout, AgentUnavailable
from agentclient.transport import READ_BYTES, pauses

PIPE_PREFIX: Final = "\\\\.\\pipe\\"

ERROR_PIPE_BUSY: Final = 231
"""winerror.h: every instance of the pipe has a client."""


class PipeFile(Protocol):
    """An open pipe; both calls wait."""

    def read(self, size: int, /) -> bytes | None:
        """What has arrived; nothing at the end."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how much."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


def open_pipe(path: str) -> PipeFile:
    """The pipe as a file of bytes."""
    return Path(path).open("r+b", buffering=0)


class PipeTransport:
    """One open pipe; not for use by two threads at once."""

    def __init__(self, file: PipeFile) -> None:
        self._file = file

    @classmethod
    def connect(
        cls, path: str, *, timeout_s: float, open_: Callable[[str], PipeFile] = open_pipe
    ) -> PipeTransport:
        """Open it, waiting while it is busy; raises `AgentUnavailable`."""
        waits = pauses(time.monotonic() + timeout_s)
        while True:
            try:
                return cls(open_(path))
            except OSError as error:
                if getattr(error, "winerror", None) != ERROR_PIPE_BUSY:
                    raise explain(path, error) from error
                pause = next(waits, None)
                if pause is None:
                    message = f"the agent at {path} takes no new connections"
                    raise AgentUnavailable(message, hint="every instance is busy") from error
                time.sleep(pause)

    def send(self, data: bytes, *, deadline: float) -> None:
        """Write everything."""
        self._within(deadline, lambda: self._write_all(data))

    def _write_all(self, data: bytes) -> bytes:
        while data:
            data = data[self._file.write(data) or 0 :]
        return b"all"

    def receive(self, *, deadline: float) -> bytes:
        """What has arrived, at least one byte; an end of stream is an error."""
        return self._within(deadline, lambda: self._file.read(READ_BYTES))

    def close(self) -> None:
        """Give it back."""
        self._file.close()

    def _within(self, deadline: float, work: Callable[[], bytes | None]) -> bytes:
        """Have a thread wait for the pipe, for it has no time-outs of its own."""
        done: SimpleQueue[bytes | None] = SimpleQueue()

        def run() -> None:
            try:
                done.put(work())
            except (OSError, ValueError):
                done.put(None)

        threading.Thread(target=run, name="agent-pipe", daemon=True).start()
        try:
            result = done.get(timeout=max(0.001, deadline - time.monotonic()))
        except Empty:
            raise AgentTimeout("the agent did not answer in time") from None
        if not result:
            raise AgentUnavailable("the agent closed the connection")
        return result
