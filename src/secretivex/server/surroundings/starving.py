"""How long a process waited for a core: time that it cannot be blamed for.

Rule for editors: what cannot be told is nothing, so that a process which hangs is never excused.
"""

from __future__ import annotations

import sys

MAX_EXCUSED_S = 30.0
"""Longest time that waiting for a core excuses: by then nobody is served anyway."""


def starved_s(pid: int) -> float:
    """Seconds that a process was ready to run and no core was free for it, so far.

    One that is stopped or sleeps was not ready. A wait is told once it is over. 0.0 where the
    system does not tell: Linux does, in the second field of /proc/PID/schedstat, in ns and of the
    first thread only.
    """
    if sys.platform != "linux":
        return 0.0
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:  # noqa: PTH123 - pathlib costs as much
            return int(file.read(256).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def ran_ns_if_ready(pid: int) -> int | None:
    """How long a process ran so far, if it runs or waits for a core now; else None.

    Ready at two moments between which it did not run, it waits for a core: `starved_s` tells of
    that wait only when it is over.
    """
    if sys.platform != "linux":
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            state = file.read(4096).rpartition(b")")[2].split()[0]
        with open(f"/proc/{pid}/schedstat", "rb") as file:  # noqa: PTH123 - as above
            ran_ns = int(file.read(256).split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return ran_ns if state == b"R" else None
