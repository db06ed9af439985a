"""`secretive-client list`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from clikit.table import render_table, show_text
from secretivex.cli.client.keys import UNREADABLE, ListedKey, filter_keys, listed_key
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
    if openssh and (unreadable := sum(key.algorithm == UNREADABLE for key in shown)):
        call.note(f"left out: {unreadable} that cannot be read")
    data = {"count": len(shown), "identities": [key.to_json() for key in shown]}
    call.emit(data, lambda: _lines(shown, openssh=openssh, width=call.width))


def _lines(keys: list[ListedKey], *, openssh: bool, width: int | None) -> Iterable[str]:
    if openssh:
        readable = (key for key in keys if key.algorithm != UNREADABLE)
        return [show_text(key.public_line()) + "\n" for key in readable]
    rows = [(key.fingerprint, key.algorithm, key.comment) for key in keys]
    return [render_table(("FINGERPRINT", "TYPE", "COMMENT"), rows, width=width)]
