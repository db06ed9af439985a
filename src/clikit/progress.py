"""Progress of long work on a terminal; in a pipe it stays silent."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

_REDRAW_S = 0.1
_BAR = 24


class Progress:
    """A line on `stream` that is redrawn at most ten times a second and wiped at the end."""

    def __init__(self, label: str, total: int | None, stream: TextIO, *, enabled: bool) -> None:
        self._label = label
        self._total = total
        self._stream = stream
        self._enabled = enabled
        self._done = 0
        self._drawn_at = 0.0
        self._drawn = 0

    def expect(self, total: int) -> None:
        """Learn how many pieces of work there are."""
        self._total = total

    def advance(self, count: int = 1) -> None:
        """Count `count` more pieces of work as done."""
        self._done += count
        if self._enabled and time.monotonic() - self._drawn_at >= _REDRAW_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        text = render_progress(self._label, self._done, self._total)
        self._stream.write("\r" + text.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()


def render_progress(label: str, done: int, total: int | None) -> str:
    """One line: a bar where the total is known, a count where it is not."""
    if not total:
        return f"{label}: {done}"
    filled = min(_BAR, _BAR * done // total)
    return f"{label} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}"
