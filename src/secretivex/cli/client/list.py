"""`secretive-client list`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from clikit.table import render_table, show_text
from secretivex.cli.client.keys import ListedKey, filter_keys, listed_key
from secretivex.cli.client.session import ClientCall, client_options


@click.command("list")
@client_options(timeout_ms=10_000)
@click.option(
    "--filter", "text", metavar="TEXT", help="Only keys whose comment or fingerprint has TEXT."
)
@click.option("--openssh", is_flag=True, help="As lines of a .pub file instead of a table.")
def command(call: ClientCall, *, text: str | None, openssh: bool) -> None:
    """List the keys that the agent offers, in its order."""
    with call.agent() as agent:
        keys = [listed_key(identity) for identity in agent.identities()]
    shown = filter_keys(keys, text) if text else keys
    data = {"count": len(shown), "identities": [key.to_json() for key in shown]}
    call.emit(data, lambda: _lines(shown, openssh=openssh, width=call.width))


def _lines(keys: list[ListedKey], *, openssh: bool, width: int | None) -> Iterable[str]:
    if openssh:
        return [show_text(key.public_line()) + "\n" for key in keys]
    rows = [(key.fingerprint, key.algorithm, key.comment) for key in keys]
    return [render_table(("FINGERPRINT", "TYPE", "COMMENT"), rows, width=width)]
