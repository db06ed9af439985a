"""`secretive-agent run`: the configured service in the foreground; SIGHUP reads keys again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from clikit.command import Call, standard_options
from clikit.logs import FORMATS, LEVELS, configure, leads_to_journal
from secretivex.cli.agent_options import SetupOptions, setup_options
from secretivex.config import AgentConfig
from secretivex.errors import SecretiveError

LOG = logging.getLogger("secretivex.config")


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --log-level and --log-format."""
    level = click.option("--log-level", type=click.Choice(LEVELS), help="Least level to log.")
    form = click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        help="How a line of the log looks.",
    )
    return level(form(function))


def start_logging(call: Call, level: str | None, form: str) -> None:
    """Send logs to stderr; --debug and --quiet choose the level where --log-level does not."""
    chosen = level or ("debug" if call.debug else "warning" if call.quiet else "info")
    is_journal = leads_to_journal(call.stderr, call.environ.get("JOURNAL_STREAM", ""))
    configure(level=chosen, format=form, stream=call.stderr, is_journal=is_journal)


def _reader(call: Call, options: SetupOptions, named: str | None) -> Callable[[], AgentConfig]:
    """What reads the configuration anew; `named` is the file that it came from so far."""

    def read() -> AgentConfig:
        nonlocal named
        config = options.load(call.environ, again=True).config
        if named is not None and config.file_name is None:
            # Its rules would be gone with it.
            message, hint = f"{named}: the file is gone", "put it back, or start the agent anew"
            raise SecretiveError("config_not_found", message, hint=hint)
        named = config.file_name
        _log_warnings(config)
        return config

    return read


@click.command("run")
@standard_options(formats=("text", "json"))
@setup_options
@log_options
@click.option("--check-config", is_flag=True, help="Check the configuration and stop.")
@click.option("--as-service", is_flag=True, hidden=True, help="Started by Windows' manager.")
@click.option("--owner-sid", hidden=True, help="Whom the pipe is for, instead of who runs this.")
def command(
    call: Call,
    options: SetupOptions,
    *,
    log_level: str | None,
    log_format: str,
    check_config: bool,
    as_service: bool,
    owner_sid: str | None,
) -> None:
    """Run the configured agent in the foreground.

    SIGTERM ends it cleanly; SIGHUP reads the configuration and the keys again.
    """
    setup = options.load(call.environ)
    if check_config:
        from secretivex.cli.agent_config import report_check

        report_check(call, setup)
        return
    start_logging(call, log_level, log_format)
    _log_warnings(setup.config)

    read = _reader(call, options, setup.config.file_name)
    if sys.platform == "win32":
        from secretivex.cli.agent_windows import run_windows

        run_windows(call.environ, read, as_service=as_service, owner_sid=owner_sid)
        return
    if as_service or owner_sid:
        raise SecretiveError("usage", "--as-service and --owner-sid are for Windows")
    from secretivex.server.startup import serve

    serve(setup.config, environ=call.environ, read=read)


def _log_warnings(config: AgentConfig) -> None:
    for warning in config.warnings:
        LOG.warning("%s", warning)
