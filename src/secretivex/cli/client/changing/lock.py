"""`secretive-client lock` and `unlock`: with a passphrase that is asked for, never an argument."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable

import click

from agentclient.errors import AgentRefused
from secretivex.cli.client.session import ClientCall, client_options
from secretivex.errors import SecretiveError
from sshwire.agent.requests import LockRequest, Request, UnlockRequest


@click.command("lock")
@client_options(timeout_ms=10_000)
def lock(call: ClientCall) -> None:
    """Lock the agent: it lists nothing and signs nothing until it is unlocked.

    The passphrase is asked for twice at a terminal, else it is the first line of standard input.
    """
    passphrase = read_passphrase("Passphrase to lock with: ")
    if sys.stdin.isatty() and read_passphrase("Again: ") != passphrase:
        raise SecretiveError("usage", "the two passphrases differ")
    with call.agent() as agent:
        _perform(agent.perform, LockRequest(passphrase), "the agent would not lock: is it locked?")
    call.emit({"locked": True}, lambda: ["locked\n"])


@click.command("unlock")
@client_options(timeout_ms=30_000)
def unlock(call: ClientCall) -> None:
    """Unlock the agent. Each wrong passphrase makes the next answer slower, up to ten seconds."""
    passphrase = read_passphrase("Passphrase: ")
    with call.agent() as agent:
        reason = "the agent would not unlock: wrong passphrase, or it is not locked"
        _perform(agent.perform, UnlockRequest(passphrase), reason)
    call.emit({"locked": False}, lambda: ["unlocked\n"])


def _perform(
    perform: Callable[[Request], None], request: LockRequest | UnlockRequest, reason: str
) -> None:
    try:
        perform(request)
    except AgentRefused as error:
        raise SecretiveError("change_refused", reason, hint=REFUSED_HINT) from error


def read_passphrase(prompt: str) -> bytes:
    """From the terminal without echo, or a line of what is piped in, which may be any bytes."""
    if sys.stdin.isatty():
        passphrase = getpass.getpass(prompt).encode(errors="surrogateescape")
    else:
        passphrase = sys.stdin.buffer.readline(MAX_PASSPHRASE_BYTES + 1).rstrip(b"\r\n")
    if not passphrase:
        hint = "type it at a terminal, or pipe it in as a line"
        raise SecretiveError("usage", "no passphrase was given", hint=hint)
    if len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise SecretiveError("usage", f"a passphrase has {MAX_PASSPHRASE_BYTES} bytes at most")
    return passphrase


REFUSED_HINT = "its log may say why: locked, read-only, asked through a forwarded connection"
"""The protocol has one word for all of it."""

MAX_PASSPHRASE_BYTES = 1024
"""As OpenSSH's programs read it (readpassphrase(3) with a buffer of that size)."""
