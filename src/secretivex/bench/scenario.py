"""What a load looks like, as values.

Rule for editors: everything that changes what is measured is a field here, and reports print it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["sign", "list"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load on one agent.

    Closed loop while `rate_per_s` is 0: a client asks again when it has its answer. Open loop
    otherwise: requests are due at fixed moments, whether or not a client is free, and latency counts
    from the moment a request was due. `duration_s` and `count` both begin after the warm-up;
    exactly one of them is set.
    """

    address: str
    mode: Mode = "sign"
    key_blob: bytes = b""
    """The key to sign with; empty for lists."""
    reconnect: bool = False
    """A connection for each request; latency begins before connect."""
    clients: int = 32
    processes: int = 1
    rate_per_s: float = 0.0
    ramp_s: float = 0.0
    """Over how long the clients begin, one after the other."""
    warmup_s: float = 1.0
    duration_s: float = 10.0
    count: int = 0
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 30.0
    payload_bytes: int = 64
    flags: int = 0
    verify_samples: int = 100
    """Replies of each process that are kept and verified after the run."""

    @property
    def interval_s(self) -> float:
        """Length of the slices in which latency over time is told: at most six hundred of them."""
        return max(1.0, self.duration_s / 600) if not self.count else 1.0

    @property
    def loop(self) -> str:
        """`open` or `closed`."""
        return "open" if self.rate_per_s else "closed"


def share_of(total: int, parts: int, index: int) -> int:
    """How many of `total` the part `index` has to do; the parts differ by at most one."""
    return total // parts + (index < total % parts)
