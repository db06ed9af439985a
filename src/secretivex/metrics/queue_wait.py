"""How long requests may wait for their turn: a threshold, and the share that may exceed it.

The rule is that of the agent whose gates our names follow, so that its figures can be compared with
ours. Rule for editors: arithmetic on settings; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class QueueWaitTail:
    """At most `ratio` of all requests wait longer than `ns`."""

    ns: int
    ratio: float
    profile: str
    is_inferred: bool = False

    def to_json(self) -> dict[str, Any]:
        """As snapshots have it."""
        profile = {"label": self.profile, "inferred": self.is_inferred}
        return {"tail_ns": self.ns, "tail_ratio": self.ratio, "profile": profile}


@dataclass(frozen=True, slots=True)
class _Base:
    ns: int
    ratio: float
    signers_per_core: int


PROFILE_TAILS: Mapping[str, _Base] = {
    "pssh": _Base(4 * _MS, 0.03, 12),
    "fanout": _Base(6 * _MS, 0.04, 8),
    "balanced": _Base(8 * _MS, 0.05, 4),
    "low-memory": _Base(12 * _MS, 0.07, 2),
}


def suggest_tail(
    profile: str | None, *, max_signers: int, workers: int, max_connections: int
) -> QueueWaitTail:
    """The bound for a configuration; more signers a core than the profile has queue longer."""
    name = profile or "balanced"
    base = PROFILE_TAILS[name]
    ns, ratio = float(base.ns), base.ratio
    load = max_signers / workers / base.signers_per_core
    if load > 1.1:
        excess = load - 1
        ns *= 1 + 0.35 * min(excess, 1.5)
        ratio += 0.01 + 0.01 * min(excess, 1.0)
    elif load < 0.9:
        ns *= 1 - 0.25 * min(1 - load, 0.5)
        ratio -= 0.005
    if max_connections >= 20_000:
        ratio += 0.003
    ns = min(max(ns, 1 * _MS), 40 * _MS)
    ratio = min(max(ratio, 0.02), 0.15)
    return QueueWaitTail(round(ns), round(ratio, 4), name, profile is None)
