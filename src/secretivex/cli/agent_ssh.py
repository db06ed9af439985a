"""`secretive-agent` with `ssh-agent`'s own flags: an agent that starts empty, for scripts.

Rule for editors: spellings, output and exit are those of ssh-agent(1). What is not served yet is a
usage error that says so, never a flag without effect.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

import click

from clikit.logs import configure
from secretivex.cli.agent_options import usable_cores
from secretivex.config import ConfigInput
from secretivex.loading import AgentSetup, make_setup
from secretivex.server.startup import serve


@click.command(
    "secretive-agent",
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)
@click.option("-D", "foreground", is_flag=True, help="Stay in the foreground.")
@click.option("-d", "debug", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option(
    "-a", "address", type=click.Path(path_type=Path), help="Listen here instead of a fresh path."
)
@click.option("-s", "style", flag_value="sh", help="Print for a Bourne shell.")
@click.option("-c", "style", flag_value="csh", help="Print for a C shell.")
@click.argument("command_line", metavar="[COMMAND ...]", nargs=-1, type=click.UNPROCESSED)
def command(
    *,
    foreground: bool,
    debug: bool,
    address: Path | None,
    style: str | None,
    command_line: tuple[str, ...],
) -> None:
    """An SSH agent that starts empty and stays in the foreground, as ssh-agent -D does."""
    if command_line or not (foreground or debug):
        what = "running COMMAND" if command_line else "running in the background"
        raise click.UsageError(f"{what} is not available in this version; use -D or -d")
    configure(level="debug" if debug else "warning", format="text", stream=sys.stderr)
    folder = None if address else Path(tempfile.mkdtemp(prefix="ssh-"))
    path = address or (folder or Path()) / f"agent.{os.getpid()}"
    try:
        _serve(path.absolute(), style or guess_style(os.environ.get("SHELL", "")))
    finally:
        if folder is not None:
            folder.rmdir()


def guess_style(shell: str) -> str:
    """Which shell to print for, as ssh-agent guesses it from SHELL."""
    return "csh" if shell.endswith("csh") else "sh"


def render_address(path: Path, style: str) -> str:
    """The line that sets SSH_AUTH_SOCK in the caller's shell."""
    quoted = shlex.quote(str(path))
    if style == "csh":
        return f"setenv SSH_AUTH_SOCK {quoted};"
    return f"SSH_AUTH_SOCK={quoted}; export SSH_AUTH_SOCK;"


def _serve(path: Path, style: str) -> None:
    setup = _setup(path)

    def announce() -> None:
        click.echo(render_address(path, style))
        sys.stdout.flush()

    serve(setup.config, environ=os.environ, hangup="stop", on_listening=announce)


def _setup(path: Path) -> AgentSetup:
    """No file and no stores; limits may still come from the environment."""
    given = ConfigInput(
        flags={"socket_path": str(path)},
        environ=os.environ,
        file=None,
        cores=usable_cores(),
        base=Path.cwd(),
        default_stores=(),
    )
    return make_setup(given)
