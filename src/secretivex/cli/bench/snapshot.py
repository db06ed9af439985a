"""What the agent under load tells of itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from secretivex.bench.slo import Snapshot
from secretivex.errors import SecretiveError
from secretivex.server.report.control_socket import ask, control_path

TIMEOUT_S = 10.0


def read_snapshot(address: str) -> Snapshot:
    """Its metrics; empty for an agent that has none."""
    try:
        return ask(control_path(Path(address)), "metrics", timeout_s=TIMEOUT_S)
    except SecretiveError:
        return {}


def begin_window(address: str) -> None:
    """Let what the agent tells begin now; an agent that tells nothing has nothing to begin."""
    with suppress(SecretiveError):
        ask(control_path(Path(address)), "reset", timeout_s=TIMEOUT_S)
