"""How a process of a store is started, and what it does first, before it is told any secret.

Rule for editors: the channel to whoever started it is its standard input, and nothing that a module
prints may ever get there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from secretivex.hardening import die_with_parent, harden, lock_memory

_RUN = "import sys, runpy; sys.path[:] = {path!r}; runpy.run_module({module!r}, None, '__main__', True)"


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours where this process found its own.

    Whoever started us may have used neither an installation nor the environment to say where that
    is. Relative places are left out: what lies in the working directory is nobody's code.
    """
    path = [place for place in sys.path if Path(place).is_absolute()]
    return [sys.executable, "-P", "-c", _RUN.format(path=path, module=module), *arguments]


def become_store_process(memory_lock: str) -> socket.socket:
    """Deny others what they must not see, end with the parent; the channel, taken off the streams.

    Raises OSError where memory must be locked and cannot.
    """
    harden()
    if lock_memory(memory_lock).is_failed:
        raise OSError("memory cannot be locked")
    die_with_parent()
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    os.umask(0o077)
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return channel
