"""What a configuration may not ask for on this system, and what has no effect beside its rest.

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


def warn_idle(resolved: Resolved, problems: Problems) -> None:
    """Say which settings that somebody chose do nothing as the others stand."""
    if not resolved["audit_requests"].value:
        reason = "nothing is recorded: audit_requests is off"
        for key in ("audit_to", "audit_path", "audit_key_path"):
            _warn_chosen(resolved[key], key, reason, "audit_requests = true", problems)
    if not (resolved["metrics_every"].value or resolved["metrics_interval_ms"].value):
        reason = "only SIGUSR2 and the end write a snapshot: there is no other occasion"
        for key in ("metrics_output_path", "metrics_json"):
            hint = "set metrics_interval_ms or metrics_every"
            _warn_chosen(resolved[key], key, reason, hint, problems)
    providers = resolved["allowed_providers"]
    for pattern in str(providers.value).split(","):
        if pattern and not pattern.removeprefix("!").startswith(("/", "*", "?")):
            reason = f"no library is known as {pattern!r}: they go by their whole paths"
            _warn_chosen(providers, "allowed_providers", reason, "begin it with / or *", problems)


def _warn_chosen(value: Value, key: str, reason: str, hint: str, problems: Problems) -> None:
    if value.value not in (None, False) and value.origin != "default":
        problems.warn(place_of(value.origin), key, reason, hint)
