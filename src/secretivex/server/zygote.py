"""The process that forks workers: it has no loop, no thread and no key, so its forks are clean.

It splits off from the supervisor before any of those exist. The supervisor sends a worker's number
with the worker's end of a new channel, and gets the process number back. Rule for editors: nothing
that starts a thread or reads a key may be imported or called here before the fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from secretivex.hardening import name_process
from secretivex.server.signals import TAKEN
from secretivex.server.surroundings.importing import uncollected
from secretivex.server.worker.shared import Shared

LOG = logging.getLogger("secretivex.server")

_NUMBER = struct.Struct("!i")

PART_AFTER_WORKERS = 1
"""The reporter's number follows the workers'; its part of the cells comes after the supervisor's."""

REPORTER_NAME = "agent-reporter"
"""As ps(1) shows it."""

MOST_ENDS = 2
"""Descriptors that come with a number: a channel, and for the reporter the control socket."""

FAILED = -1
"""Instead of a process number: the system would not fork."""


@dataclass(frozen=True, slots=True)
class Zygote:
    """The supervisor's hand on its zygote."""

    channel: socket.socket
    pid: int

    def spawn(self, number: int, *ends: socket.socket) -> int:
        """Fork a worker onto the first of `ends`; its process number. Raises OSError if that fails.

        The reporter takes the control socket as another one.
        """
        descriptors = [end.fileno() for end in ends]
        socket.send_fds(self.channel, [_NUMBER.pack(number)], descriptors)
        answer = self.channel.recv(_NUMBER.size)
        if len(answer) != _NUMBER.size:
            raise ConnectionResetError("the zygote is gone")
        self.channel.settimeout(ANSWER_TIMEOUT_S)
        pid = int(_NUMBER.unpack(answer)[0])
        if pid == FAILED:
            raise OSError("the zygote could not fork")
        return pid

    def kill(self) -> None:
        """End it now; its channel will say so. After `close` its number may be another's."""
        if self.channel.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it end, and wait for that; a zygote that hangs is killed."""
        self.channel.close()
        with contextlib.suppress(OSError):
            if not _has_ended(self.pid, END_S):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


def _has_ended(pid: int, patience_s: float) -> bool:
    """Wait for a child for a while."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    return False


def start_zygote(shared: Shared, closers: Iterable[Callable[[], None]] = ()) -> Zygote:
    """Fork the zygote; `closers` close descriptors of the supervisor's that it must not keep."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A signal between the fork and the zygote's own handlers would be taken for the supervisor's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    try:
        pid = os.fork()
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if pid == 0:
        try:
            _ignore_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            ours.close()
            for close in closers:
                close()
            _serve(theirs, shared)
        except BaseException:
            LOG.exception("the zygote failed")
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    ours.settimeout(FIRST_ANSWER_TIMEOUT_S)
    return Zygote(ours, pid)


FIRST_ANSWER_TIMEOUT_S = 20.0
"""How long the first spawn may take: the zygote imports what workers need before it answers.
Given up too early, the next one would begin with them again."""

ANSWER_TIMEOUT_S = 5.0
"""How long every other may take."""


def _ignore_signals() -> None:
    """A terminal's signals reach the whole group; the supervisor decides what they mean."""
    signal.set_wakeup_fd(-1)
    for ignored in TAKEN:
        signal.signal(ignored, signal.SIG_IGN)
    # Nobody waits for workers: the supervisor learns of their end from their channels.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


END_S = 1.0
"""How long a zygote may take to see that its channel is closed."""


def _serve(channel: socket.socket, shared: Shared) -> None:
    """Fork a worker for every request until the supervisor is gone."""
    with uncollected():
        _import_for_workers()
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _NUMBER.size, MOST_ENDS)
        if not data:
            return
        ends = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        pid = _fork_worker(channel, ends, shared, _NUMBER.unpack(data)[0])
        for end in ends:
            end.close()
        channel.send(_NUMBER.pack(pid))


def _import_for_workers() -> None:
    """Load once what every worker needs, so that a replacement starts at once.

    What other types of keys need is loaded with the first of them: most agents hold Ed25519 alone.
    """
    import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401 - for its effect

    import secretivex.server.worker.process  # noqa: F401 - for its effect

    with contextlib.suppress(ImportError):
        import nacl.bindings  # noqa: F401 - for its effect
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401 - for its effect


def _fork_worker(
    channel: socket.socket, ends: list[socket.socket], shared: Shared, number: int
) -> int:
    try:
        pid = os.fork()
    except OSError:
        return FAILED
    if pid:
        return pid
    try:
        channel.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if shared.has_reporter and number == len(shared.cells):
            name_process(REPORTER_NAME)
            from secretivex.server.report.process import run_desk

            run_desk(ends, shared.meters, number + PART_AFTER_WORKERS)
        from secretivex.server.worker.process import run_worker

        run_worker(ends[0], shared, number)
    finally:
        os._exit(70)
