"""`secretive-agent`: the configured service (`run` and its kin), or `ssh-agent`'s own command line.

A reserved word as first argument is a sub-command; anything else is ssh-agent's form. Rule for
editors: start-up is part of the contract, so nothing is imported here before it is needed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from clikit.command import run
from clikit.command.group import LazyGroup
from secretivex.errors import SecretiveError

PROG = "secretive-agent"

COMMANDS = {
    "run": ("secretivex.cli.agent_run:command", "Run the configured agent in the foreground."),
    "check-config": ("secretivex.cli.agent_config:check_config", "Check the configuration."),
    "show-config": ("secretivex.cli.agent_config:show_config", "Show what is in force, and why."),
    "reload": (
        "secretivex.cli.agent_reload:command",
        "Have a running agent read everything again.",
    ),
    "suggest": ("secretivex.cli.agent_suggest:command", "Suggest limits for this machine."),
    "explain": ("secretivex.cli.agent_explain:command", "Say why a signature would be refused."),
    "install": ("secretivex.cli.agent_service:install", "Install the agent as a service."),
    "uninstall": ("secretivex.cli.agent_service:uninstall", "Remove the service."),
    "status": ("secretivex.cli.agent_service:status", "Tell whether the service runs."),
}
"""Reserved words and where their commands live."""

GROUP_WORDS = frozenset({"--help", "-h", "--version"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else ""
    if first in COMMANDS or first in GROUP_WORDS:
        command: click.Command = service_group()
    else:
        command = importlib.import_module("secretivex.cli.ssh_form.command").command
    return run(command, arguments, prog=PROG, failure=SecretiveError)


def service_group() -> click.Command:
    """What `secretive-agent` understands beside the command line of `ssh-agent`."""
    group = LazyGroup(
        PROG,
        table=COMMANDS,
        examples="secretivex.cli.examples:AGENT",
        help="An SSH agent.\n\nWithout a command it is ssh-agent: eval $(secretive-agent -s).",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    version = click.version_option(
        package_name="secretivex-fleetmdm", prog_name=PROG, message="%(prog)s %(version)s"
    )
    return version(group)


if __name__ == "__main__":
    sys.exit(main())
