"""Signatures on their way from a worker to the writer: bare figures, with their words once a sheet.

To put figures into a line of JSON costs a worker that signs more than all else about a record, for
that code is in no cache of its core; the writer does it for hundreds in one go. A sheet is a head
(`_HEAD`: a byte that begins no text, its whole size, the size of its runs, the number of the request
before its first), then runs, then words, each after its size; in the byte order of the machine. A run
is what was signed at a time under the same words: `_RUN`, and for each signature the seconds of its
wait and of its making. Rule for editors: a sheet explains itself, for its reader may be a new one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct

from secretivex.audit.record import PIPE_BYTES

MARK = 1
"""First byte of a sheet; texts are of ASCII and have no such byte."""

_HEAD = Struct("=BHHQ")
_RUN = Struct("=HHd")
"""The place of its words in the sheet, how many signatures it has, seconds since 1970."""

_FIGURES = Struct("=dd")

MOST_IN_A_RUN = 64
_RUNS = [Struct(f"{_RUN.format}{2 * count}d") for count in range(MOST_IN_A_RUN + 1)]
_SIZE = Struct("=H")

_MARKED = bytes((MARK,))
_AFTER_TEXT = b"\n" + _MARKED

_SIGNED = b'%s%d","wait_us":%d,"sign_us":%d}\n'
"""A record: time and words, then request, wait and making. So made, by one form for all of a sheet,
it takes half as long as by one of its own."""

Piece = tuple[bytes, int]
"""What is written to the pipe in one go, at most `PIPE_BYTES`, and how many records it holds."""

Rendered = tuple[bytes, int]
"""Lines, and how many."""


class Clock:
    """Moments as records begin with them; up to its second each is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._head = ""

    def begin(self, at_s: float) -> str:
        """The beginning of a record of that moment."""
        if not 0 <= at_s - self._second < 1:
            self._second = math.floor(at_s)
            second = datetime.fromtimestamp(self._second, UTC)
            self._head = second.strftime('{"time":"%Y-%m-%dT%H:%M:%S.')
        return f'{self._head}{int((at_s - self._second) * 1e6):06d}Z",'


class Sheet:
    """One that is being filled; never longer than `PIPE_BYTES`."""

    def __init__(self) -> None:
        self._runs: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._room = PIPE_BYTES - _HEAD.size
        self.records = 0
        """How many it holds."""

    def add(self, words: bytes, at_s: float, figures: Sequence[float]) -> bool:
        """Take a run, wait and making of each signature in turn; False if there is no room for it."""
        run = _RUNS[len(figures) // 2]
        place = self._places.get(words)
        room = self._room - run.size
        if place is None:
            room -= _SIZE.size + len(words)
            place = len(self._places)
        if room < 0:
            return False
        self._room = room
        self._places[words] = place
        self._runs.append(run.pack(place, len(figures) // 2, at_s, *figures))
        self.records += len(figures) // 2
        return True

    def encode(self, before: int) -> Piece:
        """The sheet as it is written, after the request of that number."""
        runs = b"".join(self._runs)
        words = b"".join(_SIZE.pack(len(one)) + one for one in self._places)
        size = _HEAD.size + len(runs) + len(words)
        return _HEAD.pack(MARK, size, len(runs), before) + runs + words, self.records


def cut_pieces(data: bytes) -> list[bytes]:
    """Sheets and runs of lines, as they were written one after the other; what is cut off is left.

    Raises ValueError for a sheet that says it is shorter than its own head.
    """
    pieces: list[bytes] = []
    at = 0
    while (end := _end_of_piece(data, at)) is not None:
        pieces.append(data[at:end])
        at = end
    return pieces


def _end_of_piece(data: bytes, at: int) -> int | None:
    """Where the piece ends that begins there; None if that is not to be seen yet."""
    if data[at : at + 1] != _MARKED:
        sheet_at = data.find(_AFTER_TEXT, at)
        end = (data.rfind(b"\n", at) if sheet_at < 0 else sheet_at) + 1
        return end or None
    if len(data) < at + _HEAD.size:
        return None
    size = _HEAD.unpack_from(data, at)[1]
    if size < _HEAD.size:
        raise ValueError("a sheet of audit records is damaged")
    return at + size if at + size <= len(data) else None


def render_piece(piece: bytes, clock: Clock) -> Rendered:
    """A piece as lines; raises ValueError, struct.error or IndexError for a damaged sheet."""
    if piece[:1] != _MARKED:
        return piece, piece.count(b"\n")
    _, _, runs_bytes, before = _HEAD.unpack_from(piece)
    at, end = _HEAD.size, _HEAD.size + runs_bytes
    places = _read_words(piece, end)
    figures: list[bytes | int] = []
    number = before
    while at < end:
        place, count, at_s = _RUN.unpack_from(piece, at)
        at += _RUN.size
        begin = clock.begin(at_s).encode() + places[place]
        for wait_s, sign_s in _FIGURES.iter_unpack(piece[at : at + count * _FIGURES.size]):
            number += 1
            figures += begin, number, int(wait_s * 1e6), int(sign_s * 1e6)
        at += count * _FIGURES.size
    records = number - before
    return _SIGNED * records % tuple(figures), records


def _read_words(piece: bytes, at: int) -> list[bytes]:
    """The words of a sheet, in the order of their places."""
    places = []
    while at < len(piece):
        (size,) = _SIZE.unpack_from(piece, at)
        at += _SIZE.size
        places.append(piece[at : at + size])
        at += size
    return places
