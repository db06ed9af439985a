"""What a process that holds keys denies to others, and the descriptors that it needs.

Best effort by nature: each step answers whether the system took it. Rule for editors: call this
before the first key is read.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys

_PR_SET_NAME = 15
_PR_SET_DUMPABLE = 4
"""linux/prctl.h; 0 also forbids ptrace and hides /proc/PID from other processes of the user."""


_PR_SET_PDEATHSIG = 1


def forbid_core_dumps() -> bool:
    """No memory image on a crash."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return True


def forbid_inspection() -> bool:
    """No debugger of the same user may attach; inherited by children. Linux only."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def die_with_parent() -> bool:
    """End when the process that spawned us ends, even in the middle of a module's code. Linux only."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def name_process(name: str) -> None:
    """What ps(1) and /proc/PID/comm call this process. Linux only; 15 bytes are kept."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def raise_descriptor_limit() -> int:
    """Lift the soft limit of open files to the hard one; answers the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def harden() -> tuple[str, ...]:
    """Everything above; answers the names of the steps that the system refused."""
    raise_descriptor_limit()
    steps = {"core dumps": forbid_core_dumps, "inspection": forbid_inspection}
    return tuple(name for name, step in steps.items() if not step())
