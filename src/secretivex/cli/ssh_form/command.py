"""`secretive-agent` with `ssh-agent`'s own flags: an agent that starts empty, for scripts.

Rule for editors: spellings, output and exit are those of ssh-agent(1). What is not served yet is a
usage error that says so, never a flag without effect.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clikit.logs import configure
from secretivex.cli.agent_options import usable_cores
from secretivex.cli.ssh_form.background import Child, end_with, run_in_place, split_off
from secretivex.cli.ssh_form.shell import (
    Style,
    guess_style,
    parse_life,
    render_removal,
    render_setting,
)
from secretivex.config import AgentConfig, ConfigInput
from secretivex.errors import SecretiveError
from secretivex.identity import AddRules
from secretivex.loading import make_setup
from secretivex.server.startup import serve
from secretivex.stores.token.tools import DEFAULT_PROVIDERS

SOCKET_VARIABLE = "SSH_AUTH_SOCK"
PID_VARIABLE = "SSH_AGENT_PID"


@dataclass(frozen=True, slots=True)
class Form:
    """What the flags say."""

    foreground: bool
    debug: bool
    kill: bool
    rules: AddRules
    tokens: Mapping[str, Any]
    address: Path | None
    style: Style
    command_line: tuple[str, ...]


class Life(click.ParamType[int]):
    """A time in the format of sshd_config(5)."""

    name = "life"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        try:
            return parse_life(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
@click.option("-k", "kill", is_flag=True, help="Stop the agent that SSH_AGENT_PID names.")
@click.option(
    "-t", "life", type=Life(), help="Forget added keys after this time, unless they say otherwise."
)
@click.option("-P", "providers", metavar="PATTERNS", help="Libraries that clients may have loaded.")
@click.option(
    "-E",
    "hash_name",
    type=click.Choice(["sha256", "md5"], case_sensitive=False),
    default="sha256",
    help="How prompts show fingerprints.",
)
@click.option(
    "-O",
    "extra",
    type=click.Choice(["no-restrict-websafe"]),
    multiple=True,
    help="Lift the limit of security keys of web sites to logins and SSHSIG.",
)
@click.argument("command_line", metavar="[COMMAND ...]", nargs=-1, type=click.UNPROCESSED)
def command(  # noqa: PLR0913 - one argument a flag of ssh-agent(1)
    *,
    foreground: bool,
    debug: bool,
    kill: bool,
    life: int | None,
    providers: str | None,
    hash_name: str,
    extra: tuple[str, ...],
    address: Path | None,
    style: Style | None,
    command_line: tuple[str, ...],
) -> None:
    """An SSH agent that starts empty, as ssh-agent does.

    With COMMAND it runs that command and ends with it.
    """
    if command_line and (foreground or debug or kill or style):
        raise click.UsageError("COMMAND cannot be combined with -c, -s, -k, -d or -D")
    if command_line and sys.platform != "linux":
        raise click.UsageError("running COMMAND is available on Linux only in this version")
    chosen: Style = style or guess_style(os.environ.get("SHELL", ""))
    tokens = {
        "allowed_providers": DEFAULT_PROVIDERS if providers is None else providers,
        "restrict_websafe": "no-restrict-websafe" not in extra,
        "fingerprint_hash": hash_name,
    }
    rules = AddRules(life)
    form = Form(foreground or debug, debug, kill, rules, tokens, address, chosen, command_line)
    if kill:
        _kill(form.style)
    else:
        configure(level="debug" if debug else "info", format="text", stream=sys.stderr)
        _start(form)


def _kill(style: Style) -> None:
    """`-k`."""
    text = os.environ.get(PID_VARIABLE, "")
    if not (text.isascii() and text.isdigit() and 2 <= int(text) <= 0x7FFFFFFF):
        said = "is not set" if not text else "is not a process number"
        raise SecretiveError("agent_unavailable", f"{PID_VARIABLE} {said}, so no agent is stopped")
    try:
        os.kill(int(text), signal.SIGTERM)
    except OSError as error:
        message = f"cannot stop process {text}: {error.strerror}"
        raise SecretiveError("agent_unavailable", message) from error
    click.echo(render_removal(SOCKET_VARIABLE, style))
    click.echo(render_removal(PID_VARIABLE, style))
    click.echo(f"echo Agent pid {text} killed;")


def _start(form: Form) -> None:
    """Serve here or in the background; what is wrong with the settings is said before a fork."""
    started_by = os.getpid()
    folder = None if form.address else Path(tempfile.mkdtemp(prefix="ssh-"))
    path = (form.address or (folder or Path()) / f"agent.{started_by}").absolute()
    try:
        config = _config(path, form.tokens)
        if form.foreground:
            _serve(config, form.rules, lambda: _print_settings(path, form.style, started_by))
            return
        side = split_off()
        if isinstance(side, Child):
            _go_on(side, form, path)
            return
        if form.command_line:
            end_with(started_by)
        _serve(config, form.rules, side.ready)
    finally:
        if folder is not None:
            # In the caller's process the socket is still in it, so that this has no effect there.
            with contextlib.suppress(OSError):
                folder.rmdir()


def _go_on(agent: Child, form: Form, path: Path) -> None:
    """The caller's side: become COMMAND, or print what its shell is to evaluate."""
    if not form.command_line:
        _print_settings(path, form.style, agent.pid, with_pid=True)
        return
    environ = {**os.environ, SOCKET_VARIABLE: str(path), PID_VARIABLE: str(agent.pid)}
    try:
        run_in_place(form.command_line, agent, environ)
    except OSError as error:
        message = f"cannot run {form.command_line[0]}: {error.strerror}"
        raise SecretiveError("command_failed", message) from error


def _print_settings(path: Path, style: Style, pid: int, *, with_pid: bool = False) -> None:
    """In the foreground ssh-agent sets no SSH_AGENT_PID, for nobody needs it to stop the agent."""
    click.echo(render_setting(SOCKET_VARIABLE, str(path), style))
    if with_pid:
        click.echo(render_setting(PID_VARIABLE, str(pid), style))
    click.echo(f"echo Agent pid {pid};")
    sys.stdout.flush()


def _serve(config: AgentConfig, rules: AddRules, on_listening: Callable[[], None]) -> None:
    serve(config, environ=os.environ, hangup="stop", rules=rules, on_listening=on_listening)


def _config(path: Path, tokens: Mapping[str, Any]) -> AgentConfig:
    """No file and no stores; limits may still come from the environment."""
    given = ConfigInput(
        flags={"socket_path": str(path), **tokens},
        environ=os.environ,
        file=None,
        cores=usable_cores(),
        base=Path.cwd(),
        default_stores=(),
    )
    return make_setup(given).config
