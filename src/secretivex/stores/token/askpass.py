"""Asks a person, or tells them something, through the program that SSH_ASKPASS or a setting names.

The program shows its argument; SSH_ASKPASS_PROMPT says what for (ssh-add(1)). Rule for editors: every
call ends when nobody wants its answer any more, and no answer is ever logged.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.tools import TokenTools
from secretivex.stores.token.waiting import POLL_S, Wanted

ASK_S = 120.0
"""How long a person may take to type a PIN."""

MAX_ANSWER_BYTES = 1024
"""OpenSSH's readpass.c takes no more either."""

REAP_S = 0.2
"""How long a program may take to be gone once it was ended."""

_YES = (b"", b"yes")
"""What a program may print that allows: one that knows of SSH_ASKPASS_PROMPT prints nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked to allow; `environ` has its parts for a configured command."""

    text: str
    environ: Mapping[str, str] = field(default_factory=dict)


def ask(tools: TokenTools, prompt: str, is_wanted: Wanted) -> bytes:
    """What the person typed; raises `TokenError` if there is nobody to ask or they will not say."""
    if not tools.askpass:
        raise TokenError("pin_required", "a PIN is needed, and no SSH_ASKPASS can ask for it")
    command = [tools.askpass, prompt]
    with _running(command, tools.askpass_environ, subprocess.PIPE) as process:
        if not _has_ended(process, is_wanted, ASK_S):
            raise TokenError("pin_refused", "nobody typed the PIN in time")
        line = _read_line(process)
    if process.returncode or not line or len(line) > MAX_ANSWER_BYTES:
        raise TokenError("pin_refused", "the person asked for a PIN gave none")
    return line


class Prompt:
    """A question that a person sees; opening it raises `TokenError` if there is nobody to ask."""

    def __init__(self, tools: TokenTools, question: Question, now: float) -> None:
        if tools.confirm_command:
            command, environ, stdout = (
                [*tools.confirm_command],
                question.environ,
                subprocess.DEVNULL,
            )
        elif tools.askpass:
            command, stdout = [tools.askpass, question.text], subprocess.PIPE
            environ = {"SSH_ASKPASS_PROMPT": "confirm"}
        else:
            message = "a person must allow it, and there is no SSH_ASKPASS with a display to ask by"
            raise TokenError("confirm_unavailable", message)
        self._deadline = now + tools.confirm_timeout_ms / 1000
        self._process = _start(command, {**tools.askpass_environ, **environ}, stdout)

    def outcome(self, now: float) -> str | None:
        """The word for why not, "" if it was allowed, None while nobody has answered.

        As in OpenSSH, exit status 0 allows unless a word other than "yes" was printed.
        """
        if self._process.poll() is None:
            if now < self._deadline:
                return None
            self.take_away()
            return "confirm_timeout"
        line = _read_line(self._process)
        self.take_away()
        is_yes = self._process.returncode == 0 and line.lower() in _YES
        return "" if is_yes else "confirm_denied"

    def take_away(self) -> None:
        """Close it, with all that it started; what runs as another user by now ends by itself."""
        _end(self._process)
        # Never longer: one that may not be ended would hold up everybody else.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def notice(tools: TokenTools, text: str) -> Iterator[None]:
    """Show a text for as long as the context lasts, where there is anybody to show it to."""
    with contextlib.ExitStack() as stack:
        if tools.askpass:
            environ = {**tools.askpass_environ, "SSH_ASKPASS_PROMPT": "none"}
            # A device can be touched without its notice.
            with contextlib.suppress(TokenError):
                command = [tools.askpass, text]
                stack.enter_context(_running(command, environ, subprocess.DEVNULL))
        yield


@contextlib.contextmanager
def _running(
    command: list[str], environ: Mapping[str, str], stdout: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own; what it started ends with it when the context does."""
    with _start(command, environ, stdout) as process:
        try:
            yield process
        finally:
            _end(process)


def _start(command: list[str], environ: Mapping[str, str], stdout: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            start_new_session=True,
        )
    except OSError as error:
        message = f"cannot run {command[0]}: {error.strerror}"
        raise TokenError("askpass_failed", message) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # The whole session: a script's window is a process of its own.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _has_ended(process: subprocess.Popen[bytes], is_wanted: Wanted, timeout_s: float) -> bool:
    """Wait for its end; False if that took too long, `TokenError` if nobody wants the answer."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            process.wait(min(POLL_S, max(0.0, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            if not is_wanted():
                raise TokenError("no_longer_wanted", "the client went away") from None
            if time.monotonic() > end:
                return False
        else:
            return True


def _read_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line that a program which has ended left behind."""
    if process.stdout is None:
        return b""
    # Something that it started may hold the pipe open for ever.
    os.set_blocking(process.stdout.fileno(), False)
    try:
        answer = os.read(process.stdout.fileno(), MAX_ANSWER_BYTES + 1)
    except BlockingIOError:
        return b""
    return answer.split(b"\n", 1)[0].rstrip(b"\r")
