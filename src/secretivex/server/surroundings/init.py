"""As process 1 of a container: the agent goes on as the child of an init that takes what ends there.

Orphans of other programs become children of process 1, and stay as zombies until it asks for them;
but who asks for any child takes the statuses that others here wait for, of stores' processes or of
questions to people. So two processes share the work. Rule for editors: called before there is a
thread, a loop or a key; the init holds nothing, and does nothing but wait and pass on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping

from secretivex.server.signals import TAKEN

_OF_THE_TERMINAL = 0x80
"""SI_KERNEL of sigaction(2): what a terminal sends it sends to the agent too."""

_OUR_NUMBER = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables that say for which process others are meant."""


def leave_process_one(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Where this is process 1, go on in a child of it; the environment for whoever goes on.

    Process 1 itself does not return: it ends with the child, and with its exit status.
    """
    if sys.platform != "linux" or os.getpid() != 1:
        return environ
    awaited = {*TAKEN, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    agent = os.fork()
    if agent:
        os._exit(_wait_for(agent, awaited))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    own = {name: str(os.getpid()) for name in _OUR_NUMBER if environ.get(name) == "1"}
    return {**environ, **own}


def _wait_for(agent: int, awaited: set[signal.Signals]) -> int:
    """Pass signals on and take who ended, until that is the agent; its exit status."""
    while True:
        told = signal.sigwaitinfo(awaited)
        if told.si_signo != signal.SIGCHLD:
            if told.si_code != _OF_THE_TERMINAL:
                os.kill(agent, told.si_signo)
            continue
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == agent:
                    code = os.waitstatus_to_exitcode(ended[1])
                    return code if code >= 0 else 128 - code
