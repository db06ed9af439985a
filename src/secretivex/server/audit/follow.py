"""Reading an audit log while it grows, through its rotation.

Rule for editors: a log is hostile input: no line is longer than memory can bear, and one that has no
end yet costs a look now and then, not a busy loop.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from secretivex.audit.check import MAX_LINE_BYTES

T = TypeVar("T")

FIRST_LOOK_BYTES = 64 * 1024
"""So much of a log's end is read first for its newest records."""

FOLLOW_S = 0.25
"""How often a followed log is looked at."""


def read_lines(log: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends, cut to a length that memory can bear."""
    while line := log.readline(MAX_LINE_BYTES):
        yield line


def read_whole_lines(log: BinaryIO) -> Iterator[bytes]:
    """The same up to a last line that has no end, which may be being written: it is left."""
    for line in read_lines(log):
        if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES and log.seekable():
            log.seek(-len(line), os.SEEK_CUR)
            return
        yield line


def read_newest(
    log: BinaryIO, most: int, select: Callable[[Iterable[bytes]], Iterable[T]]
) -> Sequence[T]:
    """The last of what is wanted of a log's lines, at most so many, in their order.

    Looked for from the end on, ever further, and in all of what cannot be read but once.
    """
    if not log.seekable():
        return deque(select(read_whole_lines(log)), maxlen=most)
    size, length = log.seek(0, os.SEEK_END), FIRST_LOOK_BYTES
    while True:
        start = max(0, size - length)
        _seek_line(log, start)
        newest = deque(select(read_whole_lines(log)), maxlen=most)
        if not start or len(newest) == most:
            return newest
        length *= 4


def _seek_line(log: BinaryIO, start: int) -> None:
    """Go to the first line that begins there or later."""
    log.seek(max(0, start - 1))
    if start:
        for part in read_lines(log):
            if part.endswith(b"\n"):
                return


def follow_lines(path: Path, log: BinaryIO) -> Generator[bytes, None, None]:
    """Whole lines as they come; a file that was renamed is read to its end, then those after it."""
    rest = b""
    misses = 0
    try:
        while True:
            for line in read_lines(log):
                rest += line
                if rest.endswith(b"\n") or len(rest) >= MAX_LINE_BYTES:
                    yield rest
                    rest = b""
            number = _find(path, log)
            misses = misses + 1 if number is None else 0
            following = _open_after(path, log, number, misses)
            if following is not None:
                for line in read_lines(log):
                    yield rest + line
                    rest = b""
                if rest:
                    yield rest
                log.close()
                log, rest = following, b""
            elif os.fstat(log.fileno()).st_size < log.tell():
                # Emptied where it stands, as by logrotate's copytruncate.
                log.seek(0)
                rest = b""
            else:
                time.sleep(FOLLOW_S)
    finally:
        log.close()


_MISSES = 3
"""So often in a row a file is not found before it counts as taken elsewhere: it may be on its way from
one number to the next."""


def _open_after(path: Path, log: BinaryIO, number: int | None, misses: int) -> BinaryIO | None:
    """The file that was begun after this one; None while this is the newest, or it cannot be told."""
    if number == 0 or (number is None and misses < _MISSES):
        return None
    try:
        following = _numbered(path, 0 if number is None else number - 1).open("rb")
    except FileNotFoundError:
        return None
    if number is not None and _find(path, log) != number:
        # They were renamed meanwhile: look again.
        following.close()
        return None
    return following


def _find(path: Path, log: BinaryIO) -> int | None:
    """The number that this file has now, 0 for the newest; None where none has it."""
    ours = os.fstat(log.fileno())
    for name in (path.name, *_older_names(path)):
        with suppress(FileNotFoundError):
            if os.path.samestat(path.with_name(name).stat(), ours):
                return int(name[len(path.name) + 1 :] or 0)
    return None


def _older_names(path: Path) -> list[str]:
    begin = path.name + "."
    with suppress(OSError), os.scandir(path.parent) as found:
        names = [one.name for one in found if one.name.startswith(begin)]
        return [name for name in names if name[len(begin) :].isdecimal()]
    return []


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path
