"""launchd as a service manager. Not yet run on a Mac: docs/platforms.md.

Rule for editors: `bootout` returns before the service is gone, and `bootstrap` fails until it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from secretivex.errors import SecretiveError
from secretivex.service import launchd
from secretivex.service.files import in_place, ours_among, remove, whose
from secretivex.service.seal import Whose
from secretivex.service.state import ServiceState
from secretivex.service.tool import must, run_tool

GONE_S = 30.0
"""How long a service may take to end: launchd kills it after 20 seconds (ExitTimeOut)."""

POLL_S = 0.1


class LaunchdManager:
    """The user's launchd domain."""

    def __init__(
        self, home: Path, uid: int, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = home / "Library" / "LaunchAgents" / f"{launchd.LABEL}.plist"
        self._log = home / "Library" / "Logs" / "secretive-agent.log"
        self._domain = f"gui/{uid}"
        self._target = f"{self._domain}/{launchd.LABEL}"
        self._sleep = sleep

    def install(self, command: Sequence[str], *, start: bool) -> tuple[str, ...]:
        """Write the property list and load it; one that is loaded and the same stays as it is."""
        content = launchd.render_plist(command, log=str(self._log))
        was_loaded = self._is_loaded() if start else False
        with in_place({self._path: content}, launchd.judge_plist) as changed:
            if start and (changed or not was_loaded):
                self._unload()
                must("launchctl", "bootstrap", self._domain, str(self._path))
        return (str(self._path),)

    def uninstall(self) -> tuple[str, ...]:
        """Unload it and remove the list."""
        found = ours_among((self._path,), launchd.judge_plist)
        if found:
            self._unload()
            remove(found)
        return tuple(map(str, found))

    def status(self) -> ServiceState:
        """What `launchctl print` says, its first line that names a state."""
        said = run_tool("launchctl", "print", self._target)
        lines = (line.strip() for line in said.output.splitlines())
        state = next((line for line in lines if line.startswith("state =")), "not loaded")
        is_ours = whose(self._path, launchd.judge_plist) in (Whose.OURS, Whose.CHANGED)
        files = (str(self._path),) if is_ours else ()
        is_running = said.status == 0 and state == "state = running"
        return ServiceState("launchd", files, is_running, state, f"see {self._log}")

    def _is_loaded(self) -> bool:
        return run_tool("launchctl", "print", self._target).status == 0

    def _unload(self) -> None:
        """Unload it, and wait until it is gone."""
        waited_s = 0.0
        run_tool("launchctl", "bootout", self._target)
        while self._is_loaded():
            if waited_s >= GONE_S:
                raise SecretiveError("service_failed", f"launchctl: {self._target} does not end")
            self._sleep(POLL_S)
            waited_s += POLL_S
