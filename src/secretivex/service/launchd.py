"""A launchd agent for macOS: launchd.plist(5).

Rule for editors: launchd keeps the agent alive and nothing more; the socket is the agent's own, for
`launch_activate_socket` needs a call that Python does not have.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterable
from typing import Any

LABEL = "org.secretivex.agent"
MARK_KEY = "SecretiveXInstalled"
"""Ours among the keys that launchd ignores: a file without it is not ours."""


def render_plist(command: Iterable[str], *, log: str) -> bytes:
    """The property list; `log` is an absolute path for what the agent says on stderr."""
    content: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Interactive",
        "StandardErrorPath": log,
        "Umask": 0o077,
        "HardResourceLimits": {"Core": 0},
        "SoftResourceLimits": {"Core": 0, "NumberOfFiles": 65_536},
        MARK_KEY: True,
    }
    return plistlib.dumps(content, sort_keys=True)


def is_ours(content: bytes) -> bool:
    """Whether a property list was written by us."""
    try:
        value = plistlib.loads(content)
    except Exception:  # noqa: BLE001 - the parser of hostile files raises whatever it likes
        return False
    return isinstance(value, dict) and value.get(MARK_KEY) is True
