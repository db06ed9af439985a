"""When every worker of an agent acts on what was told: one that does says nothing of the others."""

from __future__ import annotations

from pathlib import Path

from agent_model import add_request
from ssh_hosts import blob_of

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.requests import RemoveRequest

SCRATCH = 98
"""A key that no test knows."""

PATIENCE_S = 60.0


def settle(address: str | Path) -> None:
    """Return once every worker knows all that the supervisor knew when this began.

    A change is answered when every worker acts on it and on what came before; here a key comes
    and goes.
    """
    with AgentClient(str(address), timeout_s=PATIENCE_S) as client:
        client.perform(add_request(SCRATCH, "scratch", None, ""))
        client.perform(RemoveRequest(blob_of(f"k{SCRATCH}")))


def are_ready(address: str | Path) -> bool:
    """Whether every worker has had its first state; the control socket must be there."""
    told = ask(control_path(Path(address)), "health", timeout_s=PATIENCE_S)
    return [row["ready"] for row in told["workers"]] == [True] * told["workers_wanted"]
