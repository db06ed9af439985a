"""systemd as a service manager: a user's own, or the system's for one named user.

Rule for editors: units of the system are named for their user, not templates, so that what one user's
agent is told is no other's; doing anything twice is doing it once.
"""

from __future__ import annotations

import pwd
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from secretivex.errors import SecretiveError
from secretivex.server.listen_unix import is_alive
from secretivex.service import systemd
from secretivex.service.files import in_place, ours_among, remove, whose
from secretivex.service.seal import Whose, judge_text
from secretivex.service.state import ServiceState
from secretivex.service.tool import must, run_tool

_USER_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
"""What stands for itself in a unit's name: systemd.unit(5)."""


class SystemdManager:
    """One service and its socket; `user` names whom a system's service is for."""

    def __init__(self, folder: Path, runtime: Path, *, user: str | None = None) -> None:
        if user is not None and not _USER_NAME.fullmatch(user):
            raise SecretiveError("usage", f"{user!r} cannot stand in the name of a unit")
        self._user = user
        scope = "--user" if user is None else "--system"
        self._systemctl = ("systemctl", scope, "--no-pager")
        name = "secretive-agent" if user is None else f"secretive-agent@{user}"
        self._service, self._socket = folder / f"{name}.service", folder / f"{name}.socket"
        place = "secretive" if user is None else f"secretive-agent/{user}"
        self._address = runtime / place / "agent.sock"

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write both units and enable the socket; a running agent starts again if they changed."""
        self._check_user()
        files = dict(zip((self._service, self._socket), self._render(command), strict=True))
        is_active = self._states()[0] == "active"
        if start and not is_active:
            self._refuse_a_taken_address()
        try:
            with in_place(files, judge_text) as changed:
                self._enable(changed, start=start, was_active=is_active)
        except BaseException:
            run_tool(*self._systemctl, "daemon-reload")
            raise
        return tuple(map(str, files))

    def _check_user(self) -> None:
        try:
            if self._user is not None:
                pwd.getpwnam(self._user)
        except KeyError as error:
            message = f"this system has no user {self._user}"
            raise SecretiveError("user_not_found", message) from error

    def _render(self, command: Sequence[str]) -> tuple[bytes, bytes]:
        texts = (
            (systemd.render_user_service(command), systemd.render_user_socket())
            if self._user is None
            else (systemd.render_system_service(command), systemd.render_system_socket())
        )
        return texts[0].encode(), texts[1].encode()

    def _enable(self, changed: frozenset[Path], *, start: bool, was_active: bool) -> None:
        must(*self._systemctl, "daemon-reload")
        try:
            if start and changed and was_active:
                # The next connection starts it, as the new file says.
                must(*self._systemctl, "stop", self._service.name)
                if self._socket in changed:
                    must(*self._systemctl, "restart", self._socket.name)
            now = ("--now",) if start else ()
            must(*self._systemctl, "enable", *now, self._socket.name)
        except BaseException:
            if {self._service, self._socket} <= changed and not was_active:
                run_tool(*self._systemctl, "disable", "--now", self._socket.name)
            raise

    def _refuse_a_taken_address(self) -> None:
        """Systemd itself would take the place of whatever stands there."""
        try:
            is_socket = stat.S_ISSOCK(self._address.lstat().st_mode)
        except OSError:
            return
        if not is_socket:
            message = f"{self._address} exists and is not a socket"
            raise SecretiveError("socket_path_taken", message, hint="move that file away")
        if is_alive(self._address):
            message = f"an agent listens at {self._address} already"
            raise SecretiveError("socket_in_use", message, hint="stop it first")

    def uninstall(self) -> tuple[str, ...]:
        """Stop and disable what is ours, then remove it."""
        found = ours_among((self._service, self._socket), judge_text)
        if found:
            must(*self._systemctl, "disable", "--now", *(path.name for path in found))
            remove(found)
            must(*self._systemctl, "daemon-reload")
            run_tool(*self._systemctl, "reset-failed", *(path.name for path in found))
        return tuple(map(str, found))

    def status(self) -> ServiceState:
        """What `systemctl is-active` says of socket and service."""
        socket, service = self._states()
        found = {path: whose(path, judge_text) for path in (self._service, self._socket)}
        files = [path for path, state in found.items() if state in (Whose.OURS, Whose.CHANGED)]
        said = f"socket {socket}, service {service}"
        changed = [path.name for path in files if found[path] is Whose.CHANGED]
        said += f"; changed by hand: {', '.join(changed)}" if changed else ""
        is_running = service != "failed" and "active" in (socket, service)
        why = f"{'journalctl --user' if self._user is None else 'journalctl'} -u"
        hint = f"{why} {self._service.name} says why" if "failed" in (socket, service) else ""
        return ServiceState("systemd", tuple(map(str, files)), is_running, said, hint)

    def _states(self) -> tuple[str, str]:
        """Of socket and service; raises `SecretiveError` where the manager does not answer."""
        names = self._socket.name, self._service.name
        said = run_tool(*self._systemctl, "is-active", *names)
        states = said.output.split("\n")
        if len(states) != len(names):
            raise SecretiveError(
                "service_failed",
                f"{' '.join(self._systemctl)}: {said.errors or said.output}",
                hint="log in as the user whom it is for, or set XDG_RUNTIME_DIR; see linger in loginctl(1)"
                if self._user is None
                else "",
            )
        return states[0], states[1]
