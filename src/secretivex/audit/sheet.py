"""Signatures on their way from a worker to the writer: bare figures, with their words once a sheet.

To put figures into a line of JSON costs a worker that signs more than all else about a record, for
that code is in no cache of its core; the writer does it for hundreds in one go. A sheet is a head
(`_HEAD`: a byte that begins no text, its whole size, how many runs it has and how many signatures, the
number of the request before its first), then figures of `FIGURE_BYTES`, then words, each after its
size; in the byte order of the machine. A run is what was signed at a time under the same words: the
place of its words in the sheet, how many signatures it has, microseconds since 1970. Behind the figures
of all runs stand how long each signature waited, then how long each took with that wait, in
nanoseconds. Rule for editors: a sheet explains itself, for its reader may be a new one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct

from secretivex.audit.record import PIPE_BYTES

MARK = 1
"""First byte of a sheet; texts are of ASCII and have no such byte."""

_HEAD = Struct("=BHHHQ")
FIGURE_BYTES = 8
_RUN_FIGURES = 3
_FIGURES = 2
"""Figures of a run, and of a signature."""

MOST_IN_A_RUN = 64
"""So many signatures of a run fit on a sheet of their own, whatever their words."""

_SIZE = Struct("=H")

_MARKED = bytes((MARK,))
_AFTER_TEXT = b"\n" + _MARKED

_SIGNED = b'%d","wait_us":%d,"sign_us":%d}\n'
"""The end of a record: number of the request, its wait, its making. The form of a whole sheet is made of
such ends and of beginnings as they stand, and filled in one go: by one form for each of its records it
takes twice as long."""

Piece = tuple[bytes, int]
"""What is written to the pipe in one go, at most `PIPE_BYTES`, and how many records it holds."""

Rendered = tuple[bytes, int]
"""Lines, and how many."""


class Clock:
    """Moments as records begin with them; up to its second each is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._head = ""

    def begin(self, at_us: int) -> str:
        """The beginning of a record of that moment."""
        second, micros = divmod(at_us, 1_000_000)
        if second != self._second:
            self._head = datetime.fromtimestamp(second, UTC).strftime('{"time":"%Y-%m-%dT%H:%M:%S.')
            self._second = second
        return f'{self._head}{micros:06d}Z",'


class Sheet:
    """One that is being filled; never longer than `PIPE_BYTES`."""

    def __init__(self) -> None:
        self._runs: list[int] = []
        self._waits_ns: list[int] = []
        self._spans_ns: list[int] = []
        self._places: dict[bytes, int] = {}
        self._room = PIPE_BYTES - _HEAD.size

    @property
    def records(self) -> int:
        """How many it holds."""
        return len(self._waits_ns)

    def add(
        self, words: bytes, at_us: int, waits_ns: Sequence[int], spans_ns: Sequence[int]
    ) -> bool:
        """Take a run, waits and whole times; False if there is no room for it."""
        count = len(waits_ns)
        place = self._places.get(words)
        room = self._room - FIGURE_BYTES * (_RUN_FIGURES + _FIGURES * count)
        if place is None:
            room -= _SIZE.size + len(words)
            place = len(self._places)
        if room < 0:
            return False
        self._room = room
        self._places[words] = place
        self._runs += (place, count, at_us)
        self._waits_ns += waits_ns
        self._spans_ns += spans_ns
        return True

    def encode(self, before: int) -> Piece:
        """The sheet as it is written, after the request of that number."""
        runs = len(self._runs) // _RUN_FIGURES
        figures = array("q", self._runs + self._waits_ns + self._spans_ns).tobytes()
        words = b"".join(_SIZE.pack(len(one)) + one for one in self._places)
        size = _HEAD.size + len(figures) + len(words)
        head = _HEAD.pack(MARK, size, runs, self.records, before)
        return head + figures + words, self.records


def cut_pieces(data: bytes) -> list[bytes]:
    """Sheets and runs of lines, as they were written one after the other; what is cut off is left.

    Raises ValueError for a sheet that says it is shorter than its own head, or too long to be one.
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
    if not _HEAD.size <= size <= PIPE_BYTES:
        raise ValueError("a sheet of audit records is damaged")
    return at + size if at + size <= len(data) else None


def count_records(piece: bytes) -> int:
    """How many records a piece holds, as it says itself."""
    return int(_HEAD.unpack_from(piece)[3]) if piece[:1] == _MARKED else piece.count(b"\n")


def render_piece(piece: bytes, clock: Clock) -> Rendered:
    """A piece as lines; raises ValueError, IndexError, OverflowError or OSError for a damaged sheet."""
    if piece[:1] != _MARKED:
        return piece, piece.count(b"\n")
    _, _, runs, records, before = _HEAD.unpack_from(piece)
    waits_at = _RUN_FIGURES * runs
    spans_at = waits_at + records
    end = _HEAD.size + FIGURE_BYTES * (spans_at + records)
    figures = array("q", piece[_HEAD.size : end]).tolist()
    places = _read_words(piece, end)
    forms: list[bytes] = []
    for at in range(0, waits_at, _RUN_FIGURES):
        place, count, at_us = figures[at : at + _RUN_FIGURES]
        forms += [clock.begin(at_us).encode() + places[place] + _SIGNED] * min(count, records)
    waits_ns, spans_ns = figures[waits_at:spans_at], figures[spans_at:]
    told = [0] * (3 * records)
    told[0::3] = range(before + 1, before + records + 1)
    told[1::3] = [wait_ns // 1000 for wait_ns in waits_ns]
    told[2::3] = [(span - wait) // 1000 for wait, span in zip(waits_ns, spans_ns, strict=True)]
    if len(forms) != records:
        raise ValueError("a sheet of audit records is damaged")
    return b"".join(forms) % tuple(told), records


def _read_words(piece: bytes, at: int) -> list[bytes]:
    """The words of a sheet, in the order of their places, as they stand in a form."""
    places = []
    while at < len(piece):
        (size,) = _SIZE.unpack_from(piece, at)
        at += _SIZE.size
        places.append(piece[at : at + size].replace(b"%", b"%%"))
        at += size
    return places
