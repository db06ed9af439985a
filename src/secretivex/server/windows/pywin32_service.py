"""The agent as a service by pywin32's framework, not yet run on Windows.

The program hosts its service itself: the manager starts `secretive-agent run --as-service`, which
connects to the manager's dispatcher. Written against pywin32's `win32serviceutil.ServiceFramework`.
Rule for editors: nothing is decided here but which of the manager's words is which phase.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import servicemanager
import win32service
import win32serviceutil
import winerror

from secretivex.server.windows.agent import RunningAgent
from secretivex.server.windows.conduct import Conduct, Phase
from secretivex.server.windows.rules import DISPLAY_NAME, SERVICE_NAME

_STATUS = {
    Phase.STARTING: win32service.SERVICE_START_PENDING,
    Phase.RUNNING: win32service.SERVICE_RUNNING,
    Phase.STOPPING: win32service.SERVICE_STOP_PENDING,
}


class AgentService(win32serviceutil.ServiceFramework):
    """What the dispatcher makes one of."""

    _svc_name_ = SERVICE_NAME
    _svc_display_name_ = DISPLAY_NAME
    make: ClassVar[Callable[[], RunningAgent]]

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self._conduct = Conduct(type(self).make, self._tell)

    def _tell(self, phase: Phase, within_s: float) -> None:
        self.ReportServiceStatus(_STATUS[phase], waitHint=round(within_s * 1000))

    def GetAcceptedControls(self) -> int:  # noqa: N802 - the framework's name
        """Stop, and the word that parameters changed."""
        accepted = int(super().GetAcceptedControls())  # type: ignore[no-untyped-call] # pywin32's
        return accepted | win32service.SERVICE_ACCEPT_PARAMCHANGE

    def SvcRun(self) -> None:  # noqa: N802 - the framework's name
        """The framework's own says that it runs before it does."""
        status = self._conduct.run()
        # The framework itself tells of an end, and knows no number.
        if status:
            servicemanager.LogErrorMsg(f"{DISPLAY_NAME}: {self._conduct.reason}")
            self.ReportServiceStatus(
                win32service.SERVICE_STOPPED,
                win32ExitCode=winerror.ERROR_SERVICE_SPECIFIC_ERROR,
                svcExitCode=status,
            )

    def SvcInterrogate(self) -> None:  # noqa: N802 - the framework's name
        """The framework's own says that it runs, whatever it does."""
        self._conduct.repeat()

    def SvcStop(self) -> None:  # noqa: N802 - the framework's name
        """The manager wants an end."""
        self._conduct.stop()

    def SvcOther(self, control: int) -> None:  # noqa: N802 - the framework's name
        """`sc.exe control SecretiveXAgent paramchange` reloads."""
        if control == win32service.SERVICE_CONTROL_PARAMCHANGE:
            self._conduct.reload()


def run_service(make: Callable[[], RunningAgent]) -> None:
    """Host the service until the manager ends it."""
    AgentService.make = staticmethod(make)
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(AgentService)
    servicemanager.StartServiceCtrlDispatcher()  # type: ignore[no-untyped-call] # pywin32's
