"""Rows of a CSV file as cells by column name, one in memory at a time. Pure.

Source: RFC 4180, with the delimiters that spreadsheets write. The first row names the columns.
Rule for editors: a row that cannot be trusted is refused by itself; a file whose quotes do not
close, or which cannot be read to its end, says so where it breaks.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from fleetmdm.device import DeviceLimits
from fleetmdm.errors import FleetError
from fleetmdm.ingest.read import InventoryFile, Refused

DELIMITERS = ",;\t|"

_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n?", re.IGNORECASE)

_WHOLE = "nothing from here on went in: write the file again, whole"


_ENCODING = "save it as UTF-8, or with: iconv -f WINDOWS-1252 -t UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line on which it ends, and its cells, trimmed, by the name of their column."""

    line: int
    cells: Mapping[str, str]


class _Lines:
    """Lines of text from bytes; `fresh` says that the reader is done with what came before."""

    def __init__(self, file: InventoryFile, max_bytes: int) -> None:
        self._file = file
        self._max = max_bytes
        self._taken = 0

    def fresh(self) -> None:
        self._taken = 0

    def __iter__(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        pending = ""
        for chunk in chain(self._file.chunks(), (b"",)):
            pending += decoder.decode(chunk, final=not chunk)
            *lines, pending = pending.split("\n")
            for line in lines:
                yield self._counted(line + "\n")
            if len(pending) > self._max:
                self._counted(pending)
        if pending:
            yield self._counted(pending)

    def _counted(self, line: str) -> str:
        self._taken += len(line)
        if self._taken > self._max:
            raise csv.Error(f"a row has more than {self._max} characters")
        return line


RefuseColumns = Callable[[Sequence[str]], Refused | None]
"""Says of the names of the columns that nothing can be made of them; then no row is read."""


def read_rows(
    file: InventoryFile, limits: DeviceLimits, refuse: RefuseColumns
) -> Iterator[Row | Refused]:
    """Rows and refusals in the order of the file."""
    lines = _Lines(file, limits.max_document_bytes)
    line = 1
    try:
        for line, cells in _split(lines, refuse):
            if isinstance(cells, Refused):
                yield cells
            elif isinstance(cells, str):
                yield Refused(file.name, line, "malformed", cells)
            else:
                yield Row(line, cells)
            lines.fresh()
    except UnicodeDecodeError:
        yield Refused(file.name, line, "not_utf8", "what follows is not UTF-8", _ENCODING)
    except csv.Error as error:
        yield Refused(file.name, line, "malformed", str(error), _WHOLE)
    except FleetError as error:
        yield Refused(file.name, line, "unreadable", error.message, error.hint)


def _split(
    lines: _Lines, refuse: RefuseColumns
) -> Iterator[tuple[int, Mapping[str, str] | str | Refused]]:
    """(line, cells) of every row, or (line, what is wrong with it)."""
    stream = iter(lines)
    first = next(stream, None)
    if first is None:
        yield 1, "the file is empty"
        return
    named = _SEPARATOR.fullmatch(first)
    if named is not None:
        # Spreadsheets take a first line such as sep=; for the delimiter's name.
        first = next(stream, "")
    if "\0" in first:
        raise csv.Error("there are NUL characters in it: UTF-16 without its mark?")
    if "\r" in first.rstrip("\r\n"):
        raise csv.Error("lines end with CR alone")
    delimiter = named[1] if named is not None else _delimiter(first)
    reader = csv.reader(chain((first,), stream), delimiter=delimiter, strict=True)
    names = [name.strip() for name in next(reader)]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise csv.Error(f"the column {repeated[0]!r} stands twice in the first row")
    refused = refuse([name for name in names if name])
    if refused is not None:
        yield 1, refused
        return
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            yield reader.line_num, f"{len(row)} cells in a table of {len(names)} columns"
        else:
            yield reader.line_num, {n: c.strip() for n, c in zip(names, row, strict=True) if n}


def _delimiter(first: str) -> str:
    """The delimiter that the first row has most of."""
    return max(DELIMITERS, key=first.count)
