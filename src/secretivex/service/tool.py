"""Running a service manager's own program.

Rule for editors: nothing is asked of it by a shell, and it is never waited for without end.
"""

from __future__ import annotations

import subprocess
from typing import NamedTuple

from secretivex.errors import SecretiveError

TOOL_TIMEOUT_S = 60.0


class Said(NamedTuple):
    """How a program ended and what it printed."""

    status: int
    output: str
    errors: str


def run_tool(*command: str) -> Said:
    """Run it; raises `SecretiveError` if there is none or it does not end."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise SecretiveError("service_failed", f"{command[0]}: {reason}") from error
    return Said(done.returncode, done.stdout.strip(), done.stderr.strip())


def must(*command: str, hint: str = "") -> None:
    """Run it; raises `SecretiveError` with its words where it fails."""
    said = run_tool(*command)
    if said.status:
        words = said.errors or said.output or f"status {said.status}"
        raise SecretiveError("service_failed", f"{' '.join(command)}: {words}", hint=hint)
