"""The command line of `secretive-bench`: commands are rows of `COMMANDS`, imported when called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from clikit.command import run
from clikit.command.group import LazyGroup
from secretivex.cli.client.session import translate
from secretivex.errors import SecretiveError

COMMANDS = {
    "run": ("secretivex.cli.bench.run:command", "Put a load on an agent and measure it."),
    "compare": ("secretivex.cli.bench.compare:command", "The same load on two agents in turn."),
    "slo": ("secretivex.cli.bench.slo:command", "Judge an agent by targets or a named gate."),
    "soak": ("secretivex.cli.bench.soak:command", "A long load that looks for leaks and drift."),
}


def build() -> click.Group:
    """The whole command line."""
    group = LazyGroup(
        "secretive-bench",
        table=COMMANDS,
        examples="secretivex.cli.examples:BENCH",
        help="Measure an SSH agent under load.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    version = click.version_option(
        package_name="secretivex-fleetmdm",
        prog_name="secretive-bench",
        message="%(prog)s %(version)s",
    )
    return version(group)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return run(
        build(), arguments, prog="secretive-bench", failure=SecretiveError, translate=translate
    )
