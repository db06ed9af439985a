"""The loop behind `fleetmdm ingest --watch`: what is new or changed in a folder goes in.

Rule for editors: a file is read once it looked the same twice, so that one still being written
waits; a stop is only honoured between files, so that nothing is half.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError
from fleetmdm.ingest.files import list_folder

TOLD = frozenset({"inventory_invalid", "input_not_found", "input_unreadable"})
"""What is wrong with a file: it is told once, and the file is read again when it changes."""

LATER = frozenset({"database_locked"})
"""What passes by itself: the file is tried again at the next look."""

Stamp = tuple[int, int, int]
"""By which a changed file is known: its inode, size and time of change."""


@dataclass(slots=True)
class Watch:
    """Which files of the folder were seen and which are done."""

    seen: dict[Path, Stamp] = field(default_factory=dict)
    done: dict[Path, Stamp] = field(default_factory=dict)

    def ready(self, stamps: Mapping[Path, Stamp]) -> list[Path]:
        """Files that look as they did at the last look, and have not been read as they are."""
        ready = [
            path
            for path, stamp in stamps.items()
            if self.seen.get(path) == stamp and self.done.get(path) != stamp
        ]
        self.seen = dict(stamps)
        self.done = {path: stamp for path, stamp in self.done.items() if path in stamps}
        return ready


def watch_folder(
    call: FleetCall,
    folder: Path,
    suffixes: frozenset[str],
    take: Callable[[list[Path]], None],
    *,
    together: bool,
) -> None:
    """Hand over what is ready until a signal asks to stop; `together` hands over all at once."""
    watch = Watch()
    interval_s: float = call.setting("ingest.watch_interval_s")
    with _stop_on_signal() as stop:
        while not stop.is_set():
            ready = watch.ready(_stamps(folder, suffixes))
            for paths in [ready] if together and ready else [[path] for path in ready]:
                if stop.is_set():
                    break
                if _taken(call, paths, take):
                    watch.done.update((path, watch.seen[path]) for path in paths)
            stop.wait(interval_s)


def _taken(call: FleetCall, paths: list[Path], take: Callable[[list[Path]], None]) -> bool:
    try:
        take(paths)
    except FleetError as error:
        if error.code not in TOLD | LATER:
            raise
        for line in error.message.splitlines():
            call.note(line)
        return error.code not in LATER
    return True


def _stamps(folder: Path, suffixes: frozenset[str]) -> dict[Path, Stamp]:
    return dict(_stamped(_listed(folder, suffixes)))


def _listed(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    try:
        return list_folder(folder, suffixes)
    except OSError:
        # The folder was taken away, or put in another's place: it may come back.
        return []


def _stamped(paths: Iterable[Path]) -> Iterator[tuple[Path, Stamp]]:
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            yield path, (found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends the program as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
