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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clikit.logs import configure, configure_syslog
from secretivex.cli.ssh_form.background import Background, Child, end_with, run_in_place, split_off
from secretivex.cli.ssh_form.settings import FormSettings, wants_reports
from secretivex.cli.ssh_form.shell import (
    Style,
    guess_style,
    parse_life,
    render_removal,
    render_setting,
)
from secretivex.config import AgentConfig
from secretivex.errors import SecretiveError
from secretivex.identity import AddRules
from secretivex.server.startup import Manner, serve

SOCKET_VARIABLE = "SSH_AUTH_SOCK"
PID_VARIABLE = "SSH_AGENT_PID"


@dataclass(frozen=True, slots=True)
class Form:
    """What the flags say."""

    foreground: bool
    debug: bool
    kill: bool
    rules: AddRules
    settings: FormSettings
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
@click.option("-s", "is_sh", is_flag=True, help="Print for a Bourne shell.")
@click.option("-c", "is_csh", is_flag=True, help="Print for a C shell.")
@click.option("-k", "kill", is_flag=True, help="Stop the agent that SSH_AGENT_PID names.")
@click.option(
    "-t", "life", type=Life(), help="Forget added keys after this time, unless they say otherwise."
)
@click.option(
    "-P",
    "providers",
    metavar="PATTERNS",
    multiple=True,
    help="Libraries that clients may have loaded.",
)
@click.option(
    "-E",
    "hash_name",
    type=click.Choice(["sha256", "sha512", "md5"], case_sensitive=False),
    help="How prompts show fingerprints.",
)
@click.option(
    "-O",
    "extra",
    metavar="OPTION",
    multiple=True,
    help="no-restrict-websafe: let security keys of web sites sign more than logins and SSHSIG;"
    " websafe-allow=PATTERNS: applications that are not web sites', ssh:* unless told otherwise;"
    " query-reply=draft: answer the extension `query` as drafts of RFC 9987 had it.",
)
@click.option(
    "-T", "in_tmpdir", is_flag=True, help="Make the socket below TMPDIR, as without this flag."
)
@click.option(
    "-U", "no_sweep", is_flag=True, help="Leave other agents' sockets alone, as without this flag."
)
@click.option(
    "--config",
    "named",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Serve by this configuration; without it no file is read.",
)
@click.argument("command_line", metavar="[COMMAND ...]", nargs=-1, type=click.UNPROCESSED)
def command(  # noqa: PLR0913 - one argument a flag of ssh-agent(1)
    *,
    foreground: bool,
    debug: bool,
    kill: bool,
    life: int | None,
    providers: tuple[str, ...],
    hash_name: str | None,
    extra: tuple[str, ...],
    address: Path | None,
    is_sh: bool,
    is_csh: bool,
    in_tmpdir: bool,  # noqa: ARG001 - what it asks for is always so
    no_sweep: bool,  # noqa: ARG001 - what it asks for is always so
    named: Path | None,
    command_line: tuple[str, ...],
) -> None:
    """An SSH agent that starts empty, as ssh-agent does.

    With COMMAND it runs that command and ends with it.
    """
    style: Style | None = "sh" if is_sh else "csh" if is_csh else None
    if command_line and (foreground or debug or kill or style):
        raise click.UsageError("COMMAND cannot be combined with -c, -s, -k, -d or -D")
    if (is_sh and is_csh) or (foreground and debug):
        raise click.UsageError("-c and -s, and -d and -D, exclude each other")
    if len(providers) > 1:
        raise click.UsageError("-P can be given once: it takes a list of patterns")
    chosen: Style = style or guess_style(os.environ.get("SHELL", ""))
    flags = parse_extra(extra)
    flags |= {"allowed_providers": providers[0]} if providers else {}
    flags |= {"fingerprint_hash": hash_name} if hash_name else {}
    settings = FormSettings(flags, named, os.environ, Path.cwd())
    rules = AddRules(life or None)
    form = Form(foreground or debug, debug, kill, rules, settings, address, chosen, command_line)
    if kill:
        _kill(form.style)
    else:
        configure(level="debug" if debug else "info", format="text", stream=sys.stderr)
        _start(form)


def parse_extra(words: tuple[str, ...]) -> dict[str, Any]:
    """The settings that `-O` options stand for; raises `click.UsageError`."""
    settings: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if word == "no-restrict-websafe":
            settings["restrict_websafe"] = False
        elif name == "websafe-allow" and value:
            settings["websafe_allow"] = value
        elif word in ("query-reply=draft", "query-reply=rfc9987"):
            settings["query_reply"] = value
        elif word == "allow-remote-pkcs11":
            raise click.UsageError(
                "-O allow-remote-pkcs11 is not served: what comes by a forwarded connection never"
                " makes this agent load code"
            )
        else:
            raise click.UsageError(f"unknown -O option {word!r}")
    return settings


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
        config = form.settings.load(path)
        if form.foreground:
            _serve(config, form, lambda: _print_settings(path, form.style, started_by))
            return
        side = split_off()
        if isinstance(side, Child):
            _go_on(side, form, path)
            return
        if form.command_line:
            end_with(started_by)
        _serve(config, form, lambda: _go_silent(side))
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


def _serve(config: AgentConfig, form: Form, on_listening: Callable[[], None]) -> None:
    serve(
        config,
        environ=os.environ,
        manner=Manner("stop", "stop" if form.foreground else "ignore", wants_reports(config)),
        rules=form.rules,
        read=lambda: form.settings.load(config.socket_path, again=True),
        on_listening=on_listening,
    )


def _go_silent(side: Background) -> None:
    """Let the caller go on; what there is to say goes to the system's log from now on."""
    side.ready()
    configure_syslog(level="info", ident="secretive-agent")
