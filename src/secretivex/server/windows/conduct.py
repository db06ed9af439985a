"""What a Windows service does between the manager's start and its stop.

Rule for editors: the manager is told nothing that is not so: running once the pipe is served, and
stopped, with a number that is not 0, when the agent could not be made or failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum

from secretivex.errors import SecretiveError
from secretivex.server.windows.agent import RunningAgent

LOG = logging.getLogger("secretivex.server")


class Phase(Enum):
    """What the manager is told."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Conduct:
    """One run of the service; `tell` reports a phase to the manager."""

    def __init__(self, make: Callable[[], RunningAgent], tell: Callable[[Phase], None]) -> None:
        self._make = make
        self._tell = tell
        self._lock = threading.Lock()
        self._agent: RunningAgent | None = None
        self._is_stopped = False

    def run(self) -> int:
        """Serve until the manager wants an end; the number that the service ends with."""
        self._tell(Phase.STARTING)
        try:
            agent = self._make()
            with self._lock:
                self._agent = agent
                if self._is_stopped:
                    agent.stop()
            agent.run(lambda: self._tell(Phase.RUNNING))
        except SecretiveError as error:
            LOG.error("the agent cannot start", extra={"fields": {"reason": error.message}})  # noqa: TRY400 - the reason is all
            return int(error.exit_status)
        except Exception:
            LOG.exception("the agent failed")
            return 70
        return 0

    def stop(self) -> None:
        """The manager wants an end; called in a thread of its own, at any time."""
        self._tell(Phase.STOPPING)
        with self._lock:
            self._is_stopped = True
            if self._agent is not None:
                self._agent.stop()

    def reload(self) -> None:
        """The manager says that parameters changed."""
        with self._lock:
            if self._agent is not None:
                self._agent.reload()
