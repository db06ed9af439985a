"""`secretive-agent reload`: have a running agent read its configuration, policy and keys again."""

from __future__ import annotations

from pathlib import Path

import click

from clikit.command import Call, standard_options
from secretivex.cli.client.session import refuse_blank_socket
from secretivex.config.paths import PathError, default_socket_path, expand_path
from secretivex.errors import SecretiveError
from secretivex.server.report.control_socket import ask, control_path

TIMEOUT_S = 30.0
"""Stores are read before it answers."""


@click.command("reload")
@standard_options(formats=("text", "json"))
@click.option("--socket", metavar="PATH", help="The agent's socket, instead of SECRETIVE_SOCK.")
def command(call: Call, *, socket: str | None) -> None:
    """Have a running agent read its configuration, policy and keys again.

    All or nothing: a configuration with a problem changes nothing, and the exit status is 3.
    """
    answer = ask(control_path(_find(call, socket)), "reload", timeout_s=TIMEOUT_S)
    if answer["rejected"]:
        raise SecretiveError(
            "config_invalid",
            f"the agent keeps its configuration: {answer['rejected']}",
            hint="secretive-agent check-config shows every problem",
            details={"problems": answer["problems"]},
        )
    call.emit(answer, lambda: _lines(answer["generation"], answer["needs_restart"]))


def _find(call: Call, named: str | None) -> Path:
    refuse_blank_socket(named)
    path = named or call.environ.get("SECRETIVE_SOCK")
    try:
        if path:
            return expand_path(path, call.environ, base=Path())
        return default_socket_path(call.environ)
    except PathError as error:
        raise SecretiveError("usage", f"no agent is named: {error}", hint=error.hint) from error


def _lines(generation: int, needs_restart: list[str]) -> list[str]:
    lines = [f"reloaded: generation {generation}\n"]
    if needs_restart:
        lines.append(f"take effect at the next start: {', '.join(needs_restart)}\n")
    return lines
