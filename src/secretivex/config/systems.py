"""What a configuration may not ask for on this system.

Rule for editors: what an operating system does not have is refused by name; that it was left out is
never learned from its absence.
"""

from __future__ import annotations

import os

from agentclient.address import MAX_SOCKET_PATH_BYTES
from clikit.config import Problem, Resolved, Value
from secretivex.config.problems import Problems, place_of
from secretivex.config.settings import SETTINGS

_NAMES = {"win32": "Windows", "darwin": "macOS", "linux": "Linux"}


def check_socket_length(value: Value, problems: Problems) -> None:
    """Make a problem of a path that the system has no room for."""
    size = len(os.fsencode(value.value))
    if size > MAX_SOCKET_PATH_BYTES:
        reason = f"the socket path has {size} bytes, and this system allows {MAX_SOCKET_PATH_BYTES}"
        hint = "choose a shorter one, for example below $XDG_RUNTIME_DIR"
        where = place_of(value.origin) if value.origin != "default" else ""
        problems.add(Problem(where, "socket_path", reason, hint), "socket_path_too_long")


def settle_for_system(resolved: Resolved, platform: str, problems: Problems) -> None:
    """Make a problem of each setting that somebody chose and this system cannot act on."""
    for row in SETTINGS:
        value = resolved[row.key]
        if row.not_on == platform and value.value not in (row.default, False, None):
            reason = f"is not available on {_NAMES[platform]}"
            problems.add(Problem(place_of(value.origin), row.key, reason, "remove it"))
    workers = resolved["workers"]
    if platform == "win32" and workers.value != 1:
        if workers.origin != "default":
            reason = "is not acted on: the agent is one process on Windows"
            problems.warn(place_of(workers.origin), "workers", reason)
        resolved["workers"] = Value(1, "default")
