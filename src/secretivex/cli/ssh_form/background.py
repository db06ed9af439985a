"""Splits the agent off into the background: the caller goes on only once the socket listens.

Rule for editors: called before there is a thread, a loop or a key. The child tells the caller over
a pipe that it serves; a child that ends first hands its exit status to the caller.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""

PARENT_CHECK_S = 2.0
"""How often to see whether COMMAND runs where the system does not tell; ssh-agent takes 10."""


@dataclass(frozen=True, slots=True)
class Child:
    """The agent, seen by the process that started it."""

    pid: int


@dataclass(frozen=True, slots=True)
class Background:
    """The agent itself, in the background; call `ready` once it serves."""

    ready: Callable[[], None]


def split_off() -> Child | Background:
    """Fork; the caller's side waits until the other is ready, and exits with it if it fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            if pipe.read(1):
                return Child(pid)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or 1)
    os.close(reading)
    os.setsid()
    _close_all_but(writing)
    return Background(lambda: _let_go(writing))


def _close_all_but(kept: int) -> None:
    """Let go of what the caller had open: somebody may wait for the end of it, a pipe for one."""
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _let_go(writing: int) -> None:
    """Leave the caller's terminal, pipes and folder, so that nobody waits for them; then say so."""
    os.chdir("/")
    # The caller's backticks end when the last writer of their pipe has closed it.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
    os.write(writing, b"1")
    os.close(writing)


def end_with(parent: int, *, platform: str = sys.platform) -> None:
    """Have this process told to stop when its parent, which runs COMMAND, ends."""
    if platform == "linux":
        _ask_to_be_told()
    else:
        _look_now_and_then(parent)
    if os.getppid() != parent:
        raise OSError("the command ended already")


def _ask_to_be_told() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the system cannot tell us when the command ends")


def _look_now_and_then(parent: int) -> None:
    """By a timer of this process, which no worker inherits: timer_create(2), fork(2)."""

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, PARENT_CHECK_S, PARENT_CHECK_S)


_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""By the interpreter at its start; a command would go on ignoring them."""


def run_in_place(command: tuple[str, ...], agent: Child, environ: dict[str, str]) -> None:
    """Become `command`; if that fails the agent is stopped. Raises OSError."""
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - no shell is wanted
    except OSError:
        with contextlib.suppress(OSError):
            os.kill(agent.pid, signal.SIGTERM)
        raise
