"""`secretive-client wait-ready`: for scripts that start an agent and need it at once."""

from __future__ import annotations

import time

import click

from agentclient.client import AgentClient
from agentclient.errors import AgentError
from secretivex.cli.client.session import ClientCall, client_options, find_socket
from secretivex.errors import SecretiveError


@click.command("wait-ready")
@client_options(timeout_ms=5_000)
@click.option(
    "--timeout-ms",
    type=click.IntRange(min=1),
    default=30_000,
    show_default=True,
    help="Longest wait in all.",
)
@click.option(
    "--interval-ms",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Pause between two attempts.",
)
@click.option(
    "--min-identities",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Ready only with at least so many keys.",
)
def command(call: ClientCall, *, timeout_ms: int, interval_ms: int, min_identities: int) -> None:
    """Wait until the agent answers a list; exit 5 if it does not in time."""
    address = find_socket(call)
    begun = time.monotonic()
    end = begun + timeout_ms / 1000
    reason = "it was not asked"
    while (left := end - time.monotonic()) > 0:
        try:
            # An agent that takes the connection and says nothing must not outlast the wait.
            timeout_s = min(left, call.response_timeout_ms / 1000)
            with AgentClient(address, timeout_s=timeout_s) as agent:
                keys = len(agent.identities())
        except AgentError as error:
            reason = error.message
        else:
            if keys >= min_identities:
                waited_ms = round((time.monotonic() - begun) * 1000)
                data = {"ready": True, "socket_path": address, "keys": keys, "waited_ms": waited_ms}
                call.emit(data, lambda: [f"agent ready: {address}\n"])
                return
            reason = f"it has {keys} of {min_identities} keys"
        time.sleep(max(0.0, min(interval_ms / 1000, end - time.monotonic())))
    raise SecretiveError(
        "agent_unavailable",
        f"no agent was ready at {address} within {timeout_ms} ms: {reason}",
        hint="look at the agent's log, or wait longer with --timeout-ms",
    )
