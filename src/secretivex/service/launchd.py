"""A launchd agent for macOS: launchd.plist(5).

Rule for editors: launchd keeps the agent alive and nothing more; the socket is the agent's own, for
`launch_activate_socket` needs a call that Python does not have.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterable
from typing import Any

from secretivex.service.seal import Whose, digest_of

LABEL = "org.secretivex.agent"
MARK_KEY = "SecretiveXInstalled"
"""Ours among the keys that launchd ignores: a digest of the others."""


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
    }
    return plistlib.dumps(content | {MARK_KEY: _digest(content)}, sort_keys=True)


def _digest(content: dict[str, Any]) -> str:
    return digest_of(plistlib.dumps(content, sort_keys=True))


def judge_plist(content: bytes) -> Whose:
    """Whose a property list is by now, however it is laid out."""
    try:
        value = plistlib.loads(content)
    except Exception:  # noqa: BLE001 - the parser of hostile files raises whatever it likes
        return Whose.FOREIGN
    if not isinstance(value, dict) or MARK_KEY not in value:
        return Whose.FOREIGN
    mark = value.pop(MARK_KEY)
    return Whose.OURS if mark == _digest(value) else Whose.CHANGED
