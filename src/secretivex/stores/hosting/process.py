"""What every process of a store does first, before it is told any secret.

Rule for editors: the channel to whoever started it is its standard input, and nothing that a module
prints may ever get there.
"""

from __future__ import annotations

import os
import signal
import socket

from secretivex.hardening import die_with_parent, harden, lock_memory


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
