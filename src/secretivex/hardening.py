"""What a process that holds keys denies to others, and the descriptors that it needs.

Best effort by nature: each step answers whether the system took it. Rule for editors: call this
before the first key is read.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

if sys.platform != "win32":
    import resource

_PR_SET_NAME = 15
_PR_SET_DUMPABLE = 4
"""linux/prctl.h; 0 also forbids ptrace and hides /proc/PID from other processes of the user."""


_PR_SET_PDEATHSIG = 1

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
"""asm-generic/mman.h: what is mapped, what will be, and both only once it is touched."""

_MLOCK_ONFAULT = 1

_M_PERTURB = -6
"""malloc.h of glibc: a byte to fill blocks with when they are handed out and when they are freed."""

_FILLER = 0x5A


@dataclass(frozen=True, slots=True)
class MemoryLock:
    """Whether this process's memory is kept out of swap.

    `wanted` is what the setting `memory_lock` says; `refusal` why it is not done, "" if it is.
    """

    wanted: str = "off"
    refusal: str = "memory_lock is off"

    @property
    def remedy(self) -> str:
        """What a person can do where the system refused."""
        if not self.refusal or self.wanted == "off":
            return ""
        return "LimitMEMLOCK=infinity of its service (ulimit -l unlimited), or encrypt swap"

    @property
    def is_failed(self) -> bool:
        """Whether the process must not go on without."""
        return self.wanted == "require" and bool(self.refusal)


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


def lock_memory(wanted: str) -> MemoryLock:
    """Keep this process's memory out of swap, what it will have later included. Linux only.

    All or nothing: under a limit of bytes a lock on what comes later would make allocations fail in
    the middle of work, and nobody can tell which pages the interpreter copies a key to. Not inherited
    by forks (mlockall(2)): each process that holds keys calls this for itself.
    """
    if wanted == "off":
        return MemoryLock()
    if sys.platform != "linux":
        return MemoryLock(wanted, "this system has no mlockall")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if hard != resource.RLIM_INFINITY and not _may_exceed(libc, hard):
        return MemoryLock(wanted, f"RLIMIT_MEMLOCK allows {hard} bytes and no more")
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
        return MemoryLock(wanted, "")
    return MemoryLock(wanted, f"mlockall: {os.strerror(ctypes.get_errno())}")


def _may_exceed(libc: Any, limit: int) -> bool:
    """Whether a limit does not hold for this process: it may lock more, which it tries.

    The capability that the kernel shows may be one of a user namespace, where it does not count.
    """
    import ctypes

    size = limit + mmap.PAGESIZE
    try:
        probe = mmap.mmap(-1, size)
    except OSError:
        return False
    with probe:
        view = ctypes.c_char.from_buffer(probe)
        address = ctypes.c_void_p(ctypes.addressof(view))
        answer = libc.mlock2(address, ctypes.c_size_t(size), _MLOCK_ONFAULT)
        if answer == 0:
            libc.munlock(address, ctypes.c_size_t(size))
        del view
    return bool(answer == 0)


def overwrite_freed_memory(*, is_on: bool) -> bool:
    """Have the allocator fill what is freed from now on, or leave it be (mallopt(3)). glibc only.

    It reaches blocks over a kilobyte: messages between the agent's processes, with the keys in them.
    Smaller ones the interpreter hands out from pools of its own. Inherited by forks.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).mallopt(_M_PERTURB, _FILLER if is_on else 0))
    except AttributeError:
        return False


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
    """What every process does; answers the names of the steps that the system refused."""
    raise_descriptor_limit()
    steps = {"core dumps": forbid_core_dumps, "inspection": forbid_inspection}
    return tuple(name for name, step in steps.items() if not step())
