"""The standard streams as a program finds them: perhaps closed, perhaps in an odd encoding.

Rule for editors: what is written to stdout is UTF-8 whatever the locale says, since machines read
it; only a terminal is spoken to in its own encoding. What cannot be said is spelled out.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import NoReturn


class ClosedOutputError(OSError):
    """Something is to be printed and stdout was closed before we began."""


class _Closed(io.TextIOBase):
    """Stands for a stream that is not there."""

    def writable(self) -> bool:
        return True

    def write(self, _text: str) -> NoReturn:
        raise ClosedOutputError(errno.EBADF, "stdout is closed")


def prepare_streams() -> None:
    """Make the streams safe to use; nothing happens to those that are in order."""
    _occupy_low_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open like any stdin
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open
    if sys.stdout is None:
        sys.stdout = _Closed()  # it does what is asked of it
    elif isinstance(sys.stdout, io.TextIOWrapper):
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def _occupy_low_descriptors() -> None:
    """A file opened in the place of a closed stream would get what is printed."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
