"""What every `secretive-client` command starts with: its options and a connected agent.

Rule for editors: nothing heavy at module level; `secretive-client list` is run by scripts in loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agentclient.address import SSH_AUTH_SOCK, check_length, resolve
from agentclient.client import AgentClient
from agentclient.errors import AgentError
from clikit.command import Call, standard_options
from clikit.errors import Failure
from secretivex.errors import SecretiveError
from sshwire.errors import WireError

SECRETIVE_SOCK = "SECRETIVE_SOCK"
"""Named before SSH_AUTH_SOCK, so that our tools meet our agent where both are set."""

_CODES = {
    "agent_unavailable": "agent_unavailable",
    "socket_path_too_long": "socket_path_too_long",
    "agent_refused": "sign_refused",
    "protocol_error": "protocol_error",
}


@dataclass(slots=True)
class ClientCall(Call):
    """One client command being run."""

    socket: str | None = None
    response_timeout_ms: int = 0

    def agent(self) -> AgentClient:
        """The agent that the options and the environment name, not connected yet."""
        timeout_s = self.response_timeout_ms / 1000
        return AgentClient(find_socket(self), timeout_s=timeout_s)


def find_socket(call: ClientCall) -> str:
    """--socket, then SECRETIVE_SOCK, then SSH_AUTH_SOCK, then where `secretive-agent run` is.

    The first two are paths as a configuration has them, with `~` and `$VAR`.
    """
    refuse_blank_socket(call.socket)
    ours = call.socket or call.environ.get(SECRETIVE_SOCK)
    if ours:
        path = expand_socket(ours, call.environ)
    elif call.environ.get(SSH_AUTH_SOCK):
        return resolve(None, call.environ)
    else:
        path = _default_socket(call.environ)
    check_length(path)
    return path


def refuse_blank_socket(named: str | None) -> None:
    """A variable that is not set must not lead to another agent than the one that was meant."""
    if named is not None and not named.strip():
        hint = "name the agent's socket, or leave the option out"
        raise SecretiveError("usage", "--socket: the path is blank", hint=hint)


def expand_socket(text: str, environ: Mapping[str, str]) -> str:
    """The path of a socket that a person named."""
    if not {"~", "$"} & set(text):
        return text
    from secretivex.config.paths import PathError, expand_path

    try:
        return str(expand_path(text, environ, base=Path()))
    except PathError as error:
        raise SecretiveError("usage", f"{text}: {error}", hint=error.hint) from error


def _default_socket(environ: Mapping[str, str]) -> str:
    from secretivex.config.paths import PathError, default_socket_path

    try:
        return str(default_socket_path(environ))
    except PathError:
        return resolve(None, {}, variables=(SECRETIVE_SOCK, SSH_AUTH_SOCK))


def client_options(*, timeout_ms: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The standard options, --socket and --response-timeout-ms; the command gets a `ClientCall`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(
            call: ClientCall, *, socket: str | None, response_timeout_ms: int, **options: Any
        ) -> Any:
            call.socket = socket
            call.response_timeout_ms = response_timeout_ms
            return function(call, **options)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
        for option in (
            click.option(
                "--response-timeout-ms",
                type=click.IntRange(min=1),
                default=timeout_ms,
                show_default=True,
                help="Longest wait for each answer of the agent.",
            ),
            click.option(
                "--socket",
                metavar="PATH",
                help="The agent's socket, instead of SECRETIVE_SOCK or SSH_AUTH_SOCK.",
            ),
        ):
            option(command)
        return standard_options(formats=("text", "json"), call_type=ClientCall)(command)

    return decorate


def translate(error: Exception) -> Failure | None:
    """Errors of the packages below this one, as ours."""
    if isinstance(error, AgentError):
        return SecretiveError(_CODES[error.code], error.message, hint=error.hint)
    if isinstance(error, WireError):
        return SecretiveError("protocol_error", str(error))
    return None
