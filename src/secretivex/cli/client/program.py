"""The command line of `secretive-client`: commands are rows of `COMMANDS`, imported when called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from clikit.command import run
from clikit.command.group import LazyGroup
from secretivex.cli.client.session import translate
from secretivex.errors import SecretiveError

COMMANDS = {
    "list": ("secretivex.cli.client.list:command", "List the keys that the agent offers."),
    "sign": ("secretivex.cli.client.sign:command", "Sign bytes with one key of the agent."),
    "health": ("secretivex.cli.client.health:command", "Check the agent and its keys."),
    "metrics": ("secretivex.cli.client.metrics:command", "Print what the agent counts."),
    "hints": (
        "secretivex.cli.client.fanout.hints:command",
        "Print settings for reaching many hosts.",
    ),
    "preflight": (
        "secretivex.cli.client.fanout.preflight:command",
        "Check what would be in the way of reaching many hosts.",
    ),
    "verify": ("secretivex.cli.client.verify:command", "Verify a signature that sign made."),
    "wait-ready": ("secretivex.cli.client.wait_ready:command", "Wait until the agent answers."),
    "add": ("secretivex.cli.client.changing.keys:add", "Have the agent hold a private key."),
    "remove": ("secretivex.cli.client.changing.keys:remove", "Have the agent forget a key."),
    "lock": ("secretivex.cli.client.changing.lock:lock", "Lock the agent."),
    "unlock": ("secretivex.cli.client.changing.lock:unlock", "Unlock the agent."),
    "tail-audit": (
        "secretivex.cli.client.audit_log:tail_audit",
        "Show the newest records of an audit log.",
    ),
    "verify-audit": (
        "secretivex.cli.client.audit_log:verify_audit",
        "Check that an audit log is whole.",
    ),
    "keys": (
        "secretivex.cli.client.storing.keys:command",
        "Make, take over, remove and show keys of stores.",
    ),
    "doctor": (
        "secretivex.cli.client.storing.doctor:command",
        "Look for what usually goes wrong, and say the remedy.",
    ),
}


def build() -> click.Group:
    """The whole command line."""
    group = LazyGroup(
        "secretive-client",
        table=COMMANDS,
        examples="secretivex.cli.examples:CLIENT",
        help="List, use and check the keys of an SSH agent.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    version = click.version_option(
        package_name="secretivex-fleetmdm",
        prog_name="secretive-client",
        message="%(prog)s %(version)s",
    )
    return version(group)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return run(
        build(), arguments, prog="secretive-client", failure=SecretiveError, translate=translate
    )
