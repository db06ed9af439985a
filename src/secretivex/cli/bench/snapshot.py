"""What the agent under load tells of itself."""

from __future__ import annotations

from secretivex.bench.slo import Snapshot


def read_snapshot(_address: str) -> Snapshot:
    """Its metrics; empty for an agent that has none."""
    return {}
