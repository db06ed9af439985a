"""Installing the agent with the service manager of this system, and taking it away again.

Rule for editors: every file written has our mark, none without it is replaced or removed, and doing
anything twice is doing it once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from clikit.output import write_atomic
from secretivex.config.paths import PathError, home_of
from secretivex.errors import SecretiveError
from secretivex.service import launchd, systemd
from secretivex.service.state import ServiceState

TOOL_TIMEOUT_S = 60.0


class ServiceManager(Protocol):
    """One system's way of running services."""

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write what is needed; the names of the files."""
        ...

    def uninstall(self) -> tuple[str, ...]:
        """Stop it and remove our files; the names of those that were there."""
        ...

    def status(self) -> ServiceState:
        """As it is now."""
        ...


def run_tool(*command: str) -> tuple[int, str]:
    """Status and words of the manager's own program; raises `SecretiveError` if there is none."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise SecretiveError("service_failed", f"{command[0]}: {reason}") from error
    return done.returncode, (done.stdout + done.stderr).strip()


def _must(*command: str) -> None:
    status, said = run_tool(*command)
    if status:
        raise SecretiveError("service_failed", f"{' '.join(command)}: {said or f'status {status}'}")


def write_ours(path: Path, content: bytes, is_ours: Callable[[bytes], bool]) -> None:
    """Write a file, unless another stands there that is not ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not is_ours(path.read_bytes())):
        raise SecretiveError(
            "service_exists",
            f"{path} exists and was not written by this command",
            hint="move it away first",
        )
    write_atomic(path, [content], mode=0o644)


class SystemdManager:
    """The user's own systemd, or with `is_system` the system's, for one named user."""

    def __init__(self, folder: Path, *, user: str | None = None) -> None:
        self._folder = folder
        self._user = user
        scope = "--user" if user is None else "--system"
        self._systemctl = ("systemctl", scope, "--no-pager")
        if user is None:
            self._service, self._socket = systemd.SERVICE, systemd.SOCKET
            self._names = (self._service, self._socket)
        else:
            self._service = f"secretive-agent@{user}.service"
            self._socket = f"secretive-agent@{user}.socket"
            self._names = (systemd.SYSTEM_SERVICE, systemd.SYSTEM_SOCKET)

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write both units and enable the socket."""
        texts = (
            (systemd.render_user_service(command), systemd.render_user_socket())
            if self._user is None
            else (systemd.render_system_service(command), systemd.render_system_socket())
        )
        for name, text in zip(self._names, texts, strict=True):
            write_ours(self._folder / name, text.encode(), self._is_ours)
        _must(*self._systemctl, "daemon-reload")
        _must(*self._systemctl, "enable", *(("--now",) if start else ()), self._socket)
        return tuple(str(self._folder / name) for name in self._names)

    def uninstall(self) -> tuple[str, ...]:
        """Stop and disable, then remove what is ours."""
        found = [path for path in map(self._folder.joinpath, self._names) if self._has(path)]
        if found:
            run_tool(*self._systemctl, "disable", "--now", self._socket, self._service)
        for path in found:
            path.unlink()
        if found:
            _must(*self._systemctl, "daemon-reload")
        return tuple(map(str, found))

    def status(self) -> ServiceState:
        """What `systemctl is-active` says of socket and service."""
        files = tuple(str(p) for p in map(self._folder.joinpath, self._names) if self._has(p))
        _, socket = run_tool(*self._systemctl, "is-active", self._socket)
        _, service = run_tool(*self._systemctl, "is-active", self._service)
        said = f"socket {socket}, service {service}"
        return ServiceState("systemd", files, "active" in (socket, service), said)

    def _has(self, path: Path) -> bool:
        return path.is_file() and self._is_ours(path.read_bytes())

    @staticmethod
    def _is_ours(content: bytes) -> bool:
        return content.startswith(systemd.MARK.encode())


class LaunchdManager:
    """The user's launchd domain. Not yet run on a Mac: docs/platforms.md."""

    def __init__(self, home: Path, uid: int) -> None:
        self._path = home / "Library" / "LaunchAgents" / f"{launchd.LABEL}.plist"
        self._log = home / "Library" / "Logs" / "secretive-agent.log"
        self._domain = f"gui/{uid}"

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write the property list and load it."""
        content = launchd.render_plist(command, log=str(self._log))
        write_ours(self._path, content, launchd.is_ours)
        if start:
            run_tool("launchctl", "bootout", f"{self._domain}/{launchd.LABEL}")
            _must("launchctl", "bootstrap", self._domain, str(self._path))
        return (str(self._path),)

    def uninstall(self) -> tuple[str, ...]:
        """Unload it and remove the list."""
        if not self._is_there():
            return ()
        run_tool("launchctl", "bootout", f"{self._domain}/{launchd.LABEL}")
        self._path.unlink()
        return (str(self._path),)

    def status(self) -> ServiceState:
        """What `launchctl print` says, its first line that names a state."""
        status, said = run_tool("launchctl", "print", f"{self._domain}/{launchd.LABEL}")
        state = next(
            (line.strip() for line in said.splitlines() if "state =" in line), "not loaded"
        )
        files = (str(self._path),) if self._is_there() else ()
        return ServiceState("launchd", files, status == 0 and "running" in state, state)

    def _is_there(self) -> bool:
        return self._path.is_file() and launchd.is_ours(self._path.read_bytes())


def find_manager(
    environ: Mapping[str, str], *, user: str | None, platform: str = sys.platform
) -> ServiceManager:
    """The manager of this system; raises `SecretiveError`."""
    if platform == "win32":
        return _windows_manager(user)
    try:
        home = Path(home_of(environ))
    except PathError as error:
        raise SecretiveError("service_failed", str(error)) from error
    if platform == "darwin" and user is None:
        return LaunchdManager(home, os.getuid())
    if platform.startswith("linux") and shutil.which("systemctl"):
        if user is not None:
            return SystemdManager(Path("/etc/systemd/system"), user=user)
        base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        return SystemdManager(base / "systemd" / "user")
    raise SecretiveError(
        "service_failed",
        "no service manager that this version knows runs here",
        hint="start `secretive-agent run` by what starts your other services",
    )


def _windows_manager(user: str | None) -> ServiceManager:
    if user is not None:
        raise SecretiveError("usage", "--system-user is for systemd")
    from secretivex.server.windows.pywin32 import Pipes
    from secretivex.service.pywin32_scm import ServiceControl
    from secretivex.service.scm import WindowsManager

    return WindowsManager(ServiceControl(), Pipes().own_sid())
