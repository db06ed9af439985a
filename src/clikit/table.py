"""Tables for people. Pure: rows in, text out. Machine formats never pass through here.

Cells come from hostile inventory: control characters are shown, never sent to a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_GAP = "  "
_MIN_COLUMN = 6
_MIN_PROSE = 8


def show_text(value: object) -> str:
    """A value as printable text: line breaks, escapes and bidi controls are spelled out."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def text_width(text: str) -> int:
    """Columns that a terminal needs for `text`."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def render_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None
) -> str:
    """Left-aligned columns under a rule; with `width`, columns are cut to fit it.

    The last column goes first, down to a few words: what stands there is prose, while ids, times
    and counts are of no use when cut.
    """
    cells = [[show_text(cell) for cell in row] for row in rows]
    wide = [
        max([text_width(header), *(text_width(row[index]) for row in cells)])
        for index, header in enumerate(headers)
    ]
    columns = _fit(wide, width)
    lines = [_line(headers, columns), _GAP.join("-" * size for size in columns)]
    lines += [_line(row, columns) for row in cells]
    return "\n".join(lines) + "\n"


def _fit(wide: Sequence[int], width: int | None) -> list[int]:
    columns = list(wide)
    if width is None:
        return columns
    over = sum(columns) + len(_GAP) * (len(columns) - 1) - width
    if over > 0 and columns[-1] > _MIN_PROSE:
        columns[-1] = max(_MIN_PROSE, columns[-1] - over)
    while sum(columns) + len(_GAP) * (len(columns) - 1) > width and max(columns) > _MIN_COLUMN:
        columns[columns.index(max(columns))] -= 1
    return columns


def _line(cells: Sequence[str], columns: Sequence[int]) -> str:
    padded = [_cut(cell, size) for cell, size in zip(cells, columns, strict=True)]
    return _GAP.join(padded).rstrip()


def _cut(text: str, size: int) -> str:
    if text_width(text) > size:
        while text and text_width(text) > size - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (size - text_width(text))
