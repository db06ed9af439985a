"""A process looks at itself: a process that is not dumpable is seen by nobody else.

Rule for editors: a look costs next to nothing, or is taken less often.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from secretivex.metrics.cells import Meter

if sys.platform != "win32":
    import resource

EVERY_S = 1.0
"""Between two looks."""

SHARE = 1000
"""A look that took long is followed by a pause this many times as long."""

OF_NOW = (
    *("process_resident", "process_descriptors", "connections"),
    *("signing_queue", "signing", "kept"),
)
"""What a process that ended has no more; what it counted stays."""


def resident_bytes() -> int:
    """Memory now on Linux, 0 where no /proc tells it; elsewhere the most ever: there in bytes."""
    if "linux" in sys.platform:
        try:
            with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - every second
                return int(file.read().split()[1]) * resource.getpagesize()
        except (OSError, ValueError, IndexError):
            return 0
    if sys.platform == "win32":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def open_descriptors() -> int:
    """Open descriptors; 0 where the system does not tell."""
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    try:
        return len(os.listdir(folder)) - 1  # noqa: PTH208 - every second
    except OSError:
        return 0


class Vitals:
    """Puts down what this process costs; its processor time goes on where its forerunner's ended."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._cpu = meter.place("process_cpu")
        self._resident = meter.place("process_resident")
        self._descriptors = meter.place("process_descriptors")
        self._before_ms = meter.get(self._cpu)

    def look(self) -> None:
        """Look now."""
        self._meter.put(self._resident, resident_bytes())
        self._meter.put(self._descriptors, open_descriptors())
        cpu_ms = int(time.process_time() * 1000)
        self._meter.put(self._cpu, self._before_ms + cpu_ms)

    def keep_looking(self, call_later: Callable[..., object]) -> None:
        """Look now and from time to time, by an event loop's `call_later`."""
        begun = time.perf_counter()
        self.look()
        pause_s = max(EVERY_S, SHARE * (time.perf_counter() - begun))
        call_later(pause_s, self.keep_looking, call_later)
