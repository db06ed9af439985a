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


START_S = 30.0
"""How long a start may take until the manager calls it hung."""

STOP_S = 5.0
"""The same for an end with no agent to finish anything."""


class Conduct:
    """One run of the service; `tell` reports a phase to the manager, and how many seconds it may take."""

    def __init__(
        self, make: Callable[[], RunningAgent], tell: Callable[[Phase, float], None]
    ) -> None:
        self._make = make
        self._tell = tell
        self._lock = threading.Lock()
        self._agent: RunningAgent | None = None
        self._is_stopped = False
        self._said = Phase.STARTING, START_S
        self.reason = ""
        """Why it ended with a number that is not 0."""

    def run(self) -> int:
        """Serve until the manager wants an end; the number that the service ends with."""
        self._say(Phase.STARTING, START_S)
        try:
            agent = self._make()
            with self._lock:
                self._agent = agent
                if self._is_stopped:
                    agent.stop()
            agent.run(lambda: self._say(Phase.RUNNING, 0.0))
        except SecretiveError as error:
            LOG.error("the agent cannot start", extra={"fields": {"reason": error.message}})  # noqa: TRY400 - the reason is all
            self.reason = error.message
            return int(error.exit_status)
        except Exception as error:
            LOG.exception("the agent failed")
            self.reason = f"the agent failed: {type(error).__name__}"
            return 70
        return 0

    def _say(self, phase: Phase, within_s: float) -> None:
        """Tell it, unless an end was told before: nothing comes after that."""
        with self._lock:
            if not self._is_stopped:
                self._said = phase, within_s
                self._tell(phase, within_s)

    def repeat(self) -> None:
        """The manager asks again."""
        with self._lock:
            self._tell(*self._said)

    def stop(self) -> None:
        """The manager wants an end; called in a thread of its own, at any time."""
        with self._lock:
            self._is_stopped = True
            within_s = STOP_S if self._agent is None else STOP_S + self._agent.drain_s
            self._said = Phase.STOPPING, within_s
            self._tell(*self._said)
            if self._agent is not None:
                self._agent.stop()

    def reload(self) -> None:
        """The manager says that parameters changed."""
        with self._lock:
            if self._agent is not None:
                self._agent.reload()
