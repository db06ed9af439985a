"""Tells when files may have changed: inotify(7) at once where there is one, a slow look everywhere.

The kernel's word is only a reason to look: what counts is what `mark` says. A network file system
changes without a word, so a look is due from time to time whatever the kernel says. Rule for editors:
changes that never end still lead to a look after `MOST_DELAYS` delays.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

LOOK_EVERY_S = 5.0
"""Longest time between two looks."""

MOST_DELAYS = 5
"""How many delays changes may go on before they are looked at anyway."""

MAX_WATCHES = 256
"""Folders that the kernel watches for one store."""

_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_EVENTS = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF."""


class Watch:
    """The folders of some files. `fileno` is readable when something happened in one of them."""

    def __init__(self, delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._descriptor = _open_inotify()
        self._watches: dict[str, int] = {}
        self._first: float | None = None
        self._last = 0.0
        self._looked = clock()

    def fileno(self) -> int:
        """-1 where the system has no inotify."""
        return self._descriptor

    def set_folders(self, paths: Iterable[Path]) -> None:
        """Watch the folders of files, what symbolic links lead to included, and folders themselves."""
        if self._descriptor < 0:
            return
        folders: set[str] = set()
        for path in paths:
            for one in (path, Path(os.path.realpath(path))):
                folders.add(str(one if one.is_dir() else one.parent))
            if path.is_symlink():
                folders.add(str(path.parent))
        wanted = frozenset(sorted(folders)[:MAX_WATCHES])
        for folder in wanted:
            # Again for one that is watched: it may be another folder of the same name by now.
            self._watches[folder] = _libc().inotify_add_watch(
                self._descriptor, os.fsencode(folder), _EVENTS
            )
        for folder in self._watches.keys() - wanted:
            _libc().inotify_rm_watch(self._descriptor, self._watches.pop(folder))

    def note(self) -> None:
        """Something happened, or is to be looked at again soon."""
        now = self._clock()
        self._first = now if self._first is None else self._first
        self._last = now

    @property
    def wait_s(self) -> float:
        """Seconds until a look is due."""
        return max(0.0, self._due() - self._clock())

    def _due(self) -> float:
        if self._first is None:
            return self._looked + LOOK_EVERY_S
        return min(self._last + self._delay_s, self._first + MOST_DELAYS * self._delay_s)

    def is_due(self) -> bool:
        """Read what the kernel says; whether to look now."""
        if self._drain():
            self.note()
        if self._clock() < self._due():
            return False
        self._first, self._looked = None, self._clock()
        return True

    def _drain(self) -> bool:
        """Take every event; whether there was one."""
        found = False
        while self._descriptor >= 0:
            try:
                found |= bool(os.read(self._descriptor, 65536))
            except BlockingIOError:
                break
        return found

    def close(self) -> None:
        """Watch nothing any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _open_inotify() -> int:
    if sys.platform != "linux":
        return -1
    return int(_libc().inotify_init1(_CLOEXEC_NONBLOCK))
