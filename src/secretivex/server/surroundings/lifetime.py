"""The clock by which keys that were added for a time live.

Rule for editors: every process of the agent reads the same clock, for the supervisor tells workers
when a key ends and each of them holds to it by itself.
"""

from __future__ import annotations

import time


def lifetime_clock() -> float:
    """Seconds that go on while the machine sleeps, and that nobody can set back."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
