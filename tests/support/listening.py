"""Whether somebody listens at a path: between bind(2) and listen(2) there is a file and nobody."""

from __future__ import annotations

from pathlib import Path

_ACCEPTS = 0x10000
"""__SO_ACCEPTCON, in the flags of Linux's /proc/net/unix."""


def is_listening(path: Path) -> bool:
    """As the kernel has it, without a connection that the listener would notice."""
    rows = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return any(row[-1] == str(path) and int(row[3], 16) & _ACCEPTS for row in rows)
