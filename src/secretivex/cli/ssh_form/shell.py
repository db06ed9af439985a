"""What ssh-agent(1) prints for the shell that evaluates it, and the times it reads.

Rule for editors: scripts evaluate these lines and some take them apart with sed; spellings are
those of OpenSSH.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

Style = Literal["sh", "csh"]

_MAX_LIFE_S = 0x7FFFFFFF
"""OpenSSH's convtime() answers an int."""

_TIME_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def guess_style(shell: str) -> Style:
    """Which shell to print for, as ssh-agent guesses it from SHELL."""
    return "csh" if shell.endswith("csh") else "sh"


def render_setting(name: str, value: str, style: Style) -> str:
    """The line that sets and exports a variable."""
    quoted = shlex.quote(value)
    if style == "csh":
        return f"setenv {name} {quoted};"
    return f"{name}={quoted}; export {name};"


def render_removal(name: str, style: Style) -> str:
    """The line that removes a variable."""
    return f"unsetenv {name};" if style == "csh" else f"unset {name};"


def parse_life(text: str) -> int:
    """Seconds of a time in the format of sshd_config(5), such as `90`, `1h30m`; raises ValueError.

    0 is for ever, as in ssh-agent.
    """
    if not re.fullmatch(r"([0-9]+[smhdwSMHDW]?)+", text, re.ASCII):
        raise ValueError(f"{text!r} is not a time such as 90, 10m or 1h30m")
    parts = re.findall(r"([0-9]+)([a-z]?)", text.lower())
    seconds = sum(int(number) * _TIME_UNITS_S[unit] for number, unit in parts)
    if seconds > _MAX_LIFE_S:
        raise ValueError(f"a lifetime must be {_MAX_LIFE_S} seconds at most")
    return seconds
