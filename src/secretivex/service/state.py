"""How an installed service is, whichever manager it has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Which of our files (or services) there are, and what the manager says of it."""

    manager: str
    files: tuple[str, ...]
    is_running: bool
    said: str
    hint: str = ""
    """Where to look if it does not run."""
