"""Cut a stream of bytes into device documents without ever holding more than one. Pure.

Three forms are told apart by how they begin: an array of documents, one document a line (NDJSON),
and documents that follow each other over as many lines as they like. What is cut out is not yet
known to be JSON; only its brackets and strings were followed.
Rule for editors: a `Fault` with `whole` set says that the stream as such cannot be trusted (it ends
in the middle, or goes on after its end); then nothing of it may be kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from fleetmdm.ingest.stream import Fault, Stop, Stream, too_large_text

_SPACE = b" \t\r\n"

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},"]', re.DOTALL)
"""A whole string, a structural character, or a quote whose string is not all here yet."""


def _nested(levels: int) -> bytes:
    """What may stand between brackets, with so many further levels; nothing is ever tried twice."""
    inner = rb"|[\[{]" + _nested(levels - 1) + rb"[\]}]" if levels else b""
    return rb'(?>[^"{}\[\]]++|"(?>[^"\\]++|\\.)*+"' + inner + rb")*+"


_WHOLE = re.compile(rb"[\[{]" + _nested(8) + rb"[\]}]", re.DOTALL)
"""A document that is all here, unless it is nested deeper; brackets are only counted, as below."""

_LINE_END = re.compile(rb"\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one document and the line, from 1, on which it begins."""

    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines that follow each other from line `line` on, a document in each or nothing."""

    line: int
    data: Sequence[bytes]


def find_whole_fault(
    chunks: Iterable[bytes], *, max_document_bytes: int, wrapper: str = ""
) -> Fault | None:
    """The fault for which nothing of a stream may be kept; lines are trusted one by one."""
    try:
        stream = Stream(chunks, max_document_bytes)
        stream.skip_space()
        if not stream.at_end() and _form_of(stream, wrapper) is _split_lines:
            stream.drain()
            return None
        faults = (item for item in _split(stream, wrapper) if isinstance(item, Fault))
        return next((fault for fault in faults if fault.whole), None)
    except Stop as stop:
        return stop.fault


def split_documents(
    chunks: Iterable[bytes], *, max_document_bytes: int, wrapper: str = ""
) -> Iterator[Piece | Fault]:
    """Documents and faults in the order of the stream.

    With `wrapper`, an object that begins with this key and an array is a page: the array's items
    are the documents and what follows the array is skipped; pages may follow each other.
    """
    for item in split_stretches(chunks, max_document_bytes=max_document_bytes, wrapper=wrapper):
        if isinstance(item, Lines):
            for line, data in enumerate(item.data, item.line):
                if plain := data.strip(_SPACE):
                    yield Piece(line, plain)
        else:
            yield item


def split_stretches(
    chunks: Iterable[bytes], *, max_document_bytes: int, wrapper: str = ""
) -> Iterator[Piece | Lines | Fault]:
    """`split_documents` with the lines of NDJSON by the hundred, as they stand."""
    try:
        stream = Stream(chunks, max_document_bytes)
        stream.skip_space()
        yield from _split(stream, wrapper)
    except Stop as stop:
        yield stop.fault


def _split(stream: Stream, wrapper: str) -> Iterator[Piece | Lines | Fault]:
    if stream.at_end():
        raise Stop(stream.line, "empty", "there is no document")
    yield from _form_of(stream, wrapper)(stream)


def _form_of(stream: Stream, wrapper: str) -> Callable[[Stream], Iterator[Piece | Lines | Fault]]:
    """How a stream is cut, as its beginning tells."""
    if stream.peek(1) == b"[":
        return partial(_split_array, whole=True)
    if wrapper and _opening(stream, wrapper):
        return partial(_split_pages, wrapper=wrapper)
    if stream.peek(1) == b"{" and not _has_lines(stream):
        return _split_values
    return _split_lines


def _split_array(stream: Stream, *, whole: bool = False) -> Iterator[Piece | Fault]:
    stream.take(1)
    first, closed = True, False
    while not closed:
        stream.skip_space()
        end = _find_end(stream, inside_array=True)
        line, data = stream.line, stream.take(end).rstrip(_SPACE)
        closed = stream.take(1) == b"]"
        if data:
            yield Piece(line, data)
        elif not (first and closed):
            yield Fault(line, "malformed", "a document is missing beside a comma")
        first = False
    if whole:
        _check_end(stream)


def _check_end(stream: Stream) -> None:
    stream.skip_space()
    if not stream.at_end():
        raise Stop(stream.line, "trailing", "text follows the end of the array")


_OPENING_BYTES = 4096
"""A page shows that it is one within this much, white space included."""


def _opening(stream: Stream, wrapper: str) -> int:
    """Length of what stands before the array of a page; 0 where no page begins here."""
    while len(stream) < _OPENING_BYTES and stream.more():
        pass
    pattern = rb'\{\s*"' + re.escape(wrapper.encode()) + rb'"\s*:\s*(?=\[)'
    matched = re.match(pattern, stream.peek(_OPENING_BYTES))
    return matched.end() if matched else 0


def _split_pages(stream: Stream, wrapper: str) -> Iterator[Piece | Fault]:
    while opening := _opening(stream, wrapper):
        stream.take(opening)
        yield from _split_array(stream)
        stream.take(_find_end(stream, inside_array=False, depth=1))
        stream.skip_space()
    _check_end(stream)


def _split_values(stream: Stream) -> Iterator[Piece | Fault]:
    while not stream.at_end():
        if stream.peek(1) != b"{":
            raise Stop(stream.line, "trailing", "text follows the end of a document")
        end = _find_end(stream, inside_array=False)
        line = stream.line
        yield Piece(line, stream.take(end))
        stream.skip_space()


def _find_end(stream: Stream, *, inside_array: bool, depth: int = 0) -> int:
    """Length of the document at the front; its brackets and strings are followed.

    `depth` counts the brackets that were opened before.

    In an array it ends before a comma or bracket of the array; else with its own last bracket.
    """
    position = 0
    whole = stream.find_front(_WHOLE) if depth == 0 else 0
    if 0 < whole <= stream.max_document_bytes:
        if not inside_array:
            return whole
        position = whole
    while position <= stream.max_document_bytes:
        matched = stream.search(_TOKEN, position)
        if matched is None or matched[2] == b'"':
            # A lone quote begins a string that goes on in what has not been read yet.
            position = len(stream) if matched is None else matched[0]
            if len(stream) > 2 * stream.max_document_bytes:
                break
            if not stream.more():
                raise stream.truncated()
            continue
        begin, position, token = matched
        if inside_array and depth == 0 and token in b",]":
            return begin
        # What closes more than was opened is for the decoder to refuse, in this document alone.
        depth = max(0, depth + (token in b"{[") - (token in b"}]"))
        if not inside_array and depth == 0:
            return position
    raise stream.too_large()


def _has_lines(stream: Stream) -> bool:
    """Whether one of the first two lines is a document by itself, which makes the stream NDJSON."""
    while stream.peek(len(stream)).count(b"\n") < 2 and len(stream) <= stream.max_document_bytes:
        if not stream.more():
            break
    return any(_is_object(line) for line in stream.peek(len(stream)).split(b"\n", 2)[:2])


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (ValueError, RecursionError):
        return False


def _split_lines(stream: Stream) -> Iterator[Lines | Fault]:
    while not stream.at_end():
        line = stream.line
        rows: Sequence[bytes | None] = stream.take_lines() or (_take_line(stream),)
        fitting = [row for row in rows if row is not None and len(row) <= stream.max_document_bytes]
        if len(fitting) == len(rows):
            yield Lines(line, fitting)
            continue
        for place, row in enumerate(rows, line):
            if row is None or len(row) > stream.max_document_bytes:
                yield Fault(place, "too_large", too_large_text(stream))
            else:
                yield Lines(place, (row,))


def _take_line(stream: Stream) -> bytes | None:
    """The next line; None, and it is gone, if it is over the limit."""
    position, fits = 0, True
    while (matched := stream.search(_LINE_END, position)) is None:
        position = len(stream)
        if position > stream.max_document_bytes:
            fits = False
            stream.take(position)
            position = 0
        if not stream.more():
            break
    data = stream.take(len(stream) if matched is None else matched[1]).removesuffix(b"\n")
    return data if fits and len(data) <= stream.max_document_bytes else None
