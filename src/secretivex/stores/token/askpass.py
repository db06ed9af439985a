"""Asks a person, or tells them something, through the program that SSH_ASKPASS names.

The program shows its argument; SSH_ASKPASS_PROMPT says what for (ssh-add(1)). Rule for editors: every
call ends when nobody wants its answer any more, and no answer is ever logged.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.tools import TokenTools

ASK_S = 120.0
"""How long a person may take to type a PIN."""

POLL_S = 0.1
"""How soon a question nobody waits for any more is taken away."""

MAX_ANSWER_BYTES = 1024
"""OpenSSH's readpass.c takes no more either."""

Wanted = Callable[[], bool]


def ask(tools: TokenTools, prompt: str, is_wanted: Wanted) -> bytes:
    """What the person typed; raises `TokenError` if there is nobody to ask or they will not say."""
    if not tools.askpass:
        raise TokenError("pin_required", "a PIN is needed, and no SSH_ASKPASS can ask for it")
    with _running(tools, prompt, "", stdout=subprocess.PIPE) as process:
        _wait(process, is_wanted)
        answer = b"" if process.stdout is None else process.stdout.read(MAX_ANSWER_BYTES + 1)
        if process.returncode:
            raise TokenError("pin_refused", "the person asked for a PIN gave none")
    line = answer.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(line) > MAX_ANSWER_BYTES:
        raise TokenError("pin_refused", "the person asked for a PIN gave none")
    return line


@contextlib.contextmanager
def notice(tools: TokenTools, text: str) -> Iterator[None]:
    """Show a text for as long as the context lasts, where there is anybody to show it to."""
    with contextlib.ExitStack() as stack:
        if tools.askpass:
            # A device can be touched without its notice.
            with contextlib.suppress(TokenError):
                stack.enter_context(_running(tools, text, "none", stdout=subprocess.DEVNULL))
        yield


@contextlib.contextmanager
def _running(
    tools: TokenTools, text: str, kind: str, *, stdout: int
) -> Iterator[subprocess.Popen[bytes]]:
    environ = dict(tools.askpass_environ)
    if kind:
        environ["SSH_ASKPASS_PROMPT"] = kind
    try:
        process = subprocess.Popen(
            [tools.askpass, text],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            start_new_session=True,
        )
    except OSError as error:
        message = f"cannot run {tools.askpass}: {error.strerror}"
        raise TokenError("askpass_failed", message) from error
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _wait(process: subprocess.Popen[bytes], is_wanted: Wanted) -> None:
    end = time.monotonic() + ASK_S
    while True:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if not is_wanted():
                raise TokenError("no_longer_wanted", "the client went away") from None
            if time.monotonic() > end:
                raise TokenError("pin_refused", "nobody typed the PIN in time") from None
        else:
            return
