"""The service control manager by pywin32, not yet run on Windows.

Written against OpenSCManager, CreateService, ChangeServiceConfig, ChangeServiceConfig2,
QueryServiceStatus and ControlService as Microsoft documents them; checked against the types of
pywin32's stubs. Rule for editors: nothing is decided here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pywintypes
import win32con
import win32service
import winerror

from secretivex.service.scm import InstalledService

WAIT_S = 30.0
"""How long a service may take to start or to stop."""

_STATES = {
    win32service.SERVICE_STOPPED: "stopped",
    win32service.SERVICE_START_PENDING: "starting",
    win32service.SERVICE_STOP_PENDING: "stopping",
    win32service.SERVICE_RUNNING: "running",
    win32service.SERVICE_PAUSED: "paused",
}


_RESTARTS = {
    "ResetPeriod": 86_400,
    "RebootMsg": "",
    "Command": "",
    "Actions": [(win32service.SC_ACTION_RESTART, 5000)] * 3,
}
"""Again five seconds after a failure."""


def _os_error(error: pywintypes.error) -> OSError:
    # With its Windows number in the fourth place, OSError becomes PermissionError and the like.
    return OSError(0, error.strerror, None, error.winerror)


@contextlib.contextmanager
def _manager(access: int) -> Iterator[Any]:
    try:
        handle = win32service.OpenSCManager(None, None, access)
        try:
            yield handle
        finally:
            win32service.CloseServiceHandle(handle)
    except pywintypes.error as error:
        raise _os_error(error) from error


@contextlib.contextmanager
def _service(name: str, access: int) -> Iterator[Any]:
    with _manager(win32service.SC_MANAGER_CONNECT) as manager:
        handle = win32service.OpenService(manager, name, access)
        try:
            yield handle
        finally:
            win32service.CloseServiceHandle(handle)


class ServiceControl:
    """The manager of this machine."""

    def find(self, name: str) -> InstalledService | None:
        """QueryServiceConfig, QueryServiceConfig2, QueryServiceStatus."""
        access = win32service.SERVICE_QUERY_CONFIG | win32service.SERVICE_QUERY_STATUS
        try:
            with _service(name, access) as handle:
                line = str(win32service.QueryServiceConfig(handle)[3])
                kind = win32service.SERVICE_CONFIG_DESCRIPTION
                description = str(win32service.QueryServiceConfig2(handle, kind) or "")
                return InstalledService(line, description, _state_of(handle))
        except OSError as error:
            if getattr(error, "winerror", None) == winerror.ERROR_SERVICE_DOES_NOT_EXIST:
                return None
            raise

    def create(self, name: str, display_name: str, command_line: str, description: str) -> None:
        """CreateService, with its description and its restart after a failure."""
        with _manager(win32service.SC_MANAGER_CREATE_SERVICE) as manager:
            handle = win32service.CreateService(
                manager,
                name,
                display_name,
                win32service.SERVICE_ALL_ACCESS,
                win32service.SERVICE_WIN32_OWN_PROCESS,
                win32service.SERVICE_AUTO_START,
                win32service.SERVICE_ERROR_NORMAL,
                command_line,
                None,
                False,
                None,
                None,
                None,
            )
            try:
                kind = win32service.SERVICE_CONFIG_DESCRIPTION
                win32service.ChangeServiceConfig2(handle, kind, description)
                kind = win32service.SERVICE_CONFIG_FAILURE_ACTIONS
                win32service.ChangeServiceConfig2(handle, kind, _RESTARTS)
                # Also after an end that the service itself reported, with a number that is not 0.
                kind = win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG
                win32service.ChangeServiceConfig2(handle, kind, True)
            except BaseException:
                win32service.DeleteService(handle)
                raise
            finally:
                win32service.CloseServiceHandle(handle)

    def set_command(self, name: str, command_line: str) -> None:
        """ChangeServiceConfig."""
        same = win32service.SERVICE_NO_CHANGE
        with _service(name, win32service.SERVICE_CHANGE_CONFIG) as handle:
            win32service.ChangeServiceConfig(
                handle, same, same, same, command_line, None, False, None, None, None, None
            )

    def start(self, name: str) -> None:
        """StartService."""
        access = win32service.SERVICE_START | win32service.SERVICE_QUERY_STATUS
        with _service(name, access) as handle:
            if _state_of(handle) != "running":
                win32service.StartService(handle, None)
                _wait_for(handle, "running")

    def stop(self, name: str) -> None:
        """ControlService with SERVICE_CONTROL_STOP."""
        access = win32service.SERVICE_STOP | win32service.SERVICE_QUERY_STATUS
        with _service(name, access) as handle:
            if _state_of(handle) != "stopped":
                win32service.ControlService(handle, win32service.SERVICE_CONTROL_STOP)
                _wait_for(handle, "stopped")

    def delete(self, name: str) -> None:
        """DeleteService."""
        with _service(name, win32con.DELETE) as handle:
            win32service.DeleteService(handle)


def _state_of(handle: Any) -> str:
    return _STATES.get(win32service.QueryServiceStatus(handle)[1], "unknown")


def _wait_for(handle: Any, state: str) -> None:
    end = time.monotonic() + WAIT_S
    while (now := _state_of(handle)) != state:
        if time.monotonic() > end or (state == "running" and now == "stopped"):
            raise OSError(0, f"the service is {now} and does not become {state}")
        time.sleep(0.2)
