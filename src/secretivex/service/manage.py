"""Which service manager this system has: installing the agent with it, and taking it away again.

Each is imported where it is wanted, for none of them runs on every system. Rule for editors: every
file written is sealed, none that is not as we left it is replaced or removed,
and doing anything twice is doing it once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from secretivex.config.paths import PathError, absolute, home_of
from secretivex.errors import SecretiveError
from secretivex.service.state import ServiceState


class ServiceManager(Protocol):
    """One system's way of running services."""

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write what is needed, all or nothing; the names of the files."""
        ...

    def uninstall(self) -> tuple[str, ...]:
        """Stop it and remove our files; the names of those that were there."""
        ...

    def status(self) -> ServiceState:
        """As it is now."""
        ...


def find_manager(
    environ: Mapping[str, str], *, user: str | None, platform: str = sys.platform
) -> ServiceManager:
    """The manager of this system; raises `SecretiveError`."""
    if user is not None and not platform.startswith("linux"):
        raise SecretiveError("usage", "--system-user is for systemd")
    if platform == "win32":
        return _windows_manager()
    if platform.startswith("linux") and shutil.which("systemctl"):
        return _systemd_manager(environ, user)
    if platform == "darwin":
        from secretivex.service.launchd_manager import LaunchdManager

        return LaunchdManager(_home(environ), os.getuid())
    raise SecretiveError(
        "service_failed",
        "no service manager that this version knows runs here",
        hint="start `secretive-agent run` by what starts your other services",
    )


def _home(environ: Mapping[str, str]) -> Path:
    try:
        return Path(home_of(environ))
    except PathError as error:
        raise SecretiveError("service_failed", str(error)) from error


def _systemd_manager(environ: Mapping[str, str], user: str | None) -> ServiceManager:
    from secretivex.service.systemd_manager import SystemdManager

    if user is not None:
        return SystemdManager(Path("/etc/systemd/system"), Path("/run"), user=user)
    base = absolute(environ, "XDG_CONFIG_HOME") or _home(environ) / ".config"
    runtime = absolute(environ, "XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return SystemdManager(Path(base) / "systemd" / "user", Path(runtime))


def _windows_manager() -> ServiceManager:
    from secretivex.server.windows.pywin32 import Pipes
    from secretivex.service.pywin32_scm import ServiceControl
    from secretivex.service.scm import WindowsManager

    return WindowsManager(ServiceControl(), Pipes().own_sid())
