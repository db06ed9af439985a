"""The agent as a Windows service: what is asked of the service control manager, and when.

Specification: CreateService, ControlService. Rule for editors: a service without our mark in its
description is not ours to change; what calls Windows lies behind `ScmPort`, in `pywin32_scm`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from secretivex.errors import SecretiveError
from secretivex.server.windows.rules import DISPLAY_NAME, SERVICE_NAME, check_sid
from secretivex.service.state import ServiceState

MARK = "Written by `secretive-agent install`; `secretive-agent uninstall` removes it."
"""Description of every service that we make: one with another is not ours."""


class InstalledService(NamedTuple):
    """A service as the manager has it; `state` is its word for it, such as `running`."""

    command_line: str
    description: str
    state: str


class ScmPort(Protocol):
    """The service control manager. Every call raises OSError with its reason."""

    def find(self, name: str) -> InstalledService | None:
        """The service of that name."""
        ...

    def create(self, name: str, display_name: str, command_line: str, description: str) -> None:
        """Make one that starts with the system, and again when it fails, as LocalSystem."""
        ...

    def set_command(self, name: str, command_line: str) -> None:
        """Give it another command line."""
        ...

    def start(self, name: str) -> None:
        """Start it and wait until it runs."""
        ...

    def stop(self, name: str) -> None:
        """Stop it if it runs, and wait until it has."""
        ...

    def delete(self, name: str) -> None:
        """Remove it."""
        ...


class WindowsManager:
    """The service of one user's agent; it runs as the system and serves that user alone."""

    def __init__(self, port: ScmPort, owner_sid: str) -> None:
        self._port = port
        self._owner_sid = check_sid(owner_sid)

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Make the service, or give ours its new command."""
        words = [*command, "--as-service", "--owner-sid", self._owner_sid]
        # Windows parts a command line by the rules that this function quotes for.
        line = subprocess.list2cmdline(words)
        try:
            found = self._ours()
            if found is None:
                self._port.create(SERVICE_NAME, DISPLAY_NAME, line, MARK)
            elif found.command_line != line:
                self._port.stop(SERVICE_NAME)
                self._port.set_command(SERVICE_NAME, line)
            if start and (found is None or found.command_line != line or found.state != "running"):
                self._port.start(SERVICE_NAME)
        except OSError as error:
            raise _failed(error) from error
        return (SERVICE_NAME,)

    def uninstall(self) -> tuple[str, ...]:
        """Stop and remove it, if it is ours."""
        try:
            found = self._port.find(SERVICE_NAME)
            if found is None or found.description != MARK:
                return ()
            self._port.stop(SERVICE_NAME)
            self._port.delete(SERVICE_NAME)
        except OSError as error:
            raise _failed(error) from error
        return (SERVICE_NAME,)

    def status(self) -> ServiceState:
        """As the manager has it."""
        try:
            found = self._port.find(SERVICE_NAME)
        except OSError as error:
            raise _failed(error) from error
        if found is None or found.description != MARK:
            return ServiceState("windows", (), is_running=False, said="not installed")
        is_running = found.state == "running"
        return ServiceState("windows", (SERVICE_NAME,), is_running=is_running, said=found.state)

    def _ours(self) -> InstalledService | None:
        found = self._port.find(SERVICE_NAME)
        if found is not None and found.description != MARK:
            raise SecretiveError(
                "service_exists",
                f"a service {SERVICE_NAME} exists and was not written by this command",
                hint=f"remove it first: sc.exe delete {SERVICE_NAME}",
            )
        return found


def _failed(error: OSError) -> SecretiveError:
    hint = "run it in an elevated terminal" if isinstance(error, PermissionError) else ""
    return SecretiveError(
        "service_failed", f"service control manager: {error.strerror or error}", hint=hint
    )
