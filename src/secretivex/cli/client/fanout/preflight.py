"""`secretive-client preflight`: what would be in the way of reaching many hosts from here."""

from __future__ import annotations

import click

from secretivex.cli.client.fanout.checks import examine
from secretivex.cli.client.fanout.facts import gather
from secretivex.cli.client.fanout.findings import tell
from secretivex.cli.client.fanout.hints import PARALLEL
from secretivex.cli.client.session import ClientCall, client_options
from secretivex.errors import SecretiveError


@click.command("preflight")
@client_options(timeout_ms=10_000)
@click.option(
    "--parallel",
    type=click.IntRange(1, 10_000),
    default=PARALLEL,
    show_default=True,
    help="Hosts that are to be reached at a time.",
)
@click.option(
    "--host",
    metavar="HOST",
    default="fleet.example",
    show_default=True,
    help="Whose part of ssh_config is looked at; it is not connected to.",
)
@click.option("--strict", is_flag=True, help="Warnings too end in exit status 1.")
def command(call: ClientCall, *, parallel: int, host: str, strict: bool) -> None:
    """Check what usually limits a fan-out; exit status 1 when something would make it fail.

    Limits, backlog, socket path, the agent's keys, the clock; of ssh_config IdentityAgent,
    IdentitiesOnly, ControlPersist, GSSAPI, known_hosts, jump hosts. No host is connected to.
    """
    if host.startswith("-"):
        raise SecretiveError("usage", f"--host {host}: not a host name")
    findings = examine(gather(call.agent(), call.environ, parallel=parallel, host=host))
    tell(call, findings, word="ready", code="preflight_failed", strict=strict)
