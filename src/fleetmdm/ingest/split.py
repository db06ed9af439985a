"""Cut a stream of bytes into device documents without ever holding more than one. Pure.

Three forms are told apart by how they begin: an array of documents, one document a line (NDJSON),
and documents that follow each other over as many lines as they like. What is cut out is not yet
known to be JSON; only its brackets and strings were followed.
Rule for editors: a `Fault` with `whole` set says that the stream as such cannot be trusted (it ends
in the middle, or goes on after its end); then nothing of it may be kept.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SPACE = b" \t\r\n"

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},"]', re.DOTALL)
"""A whole string, a structural character, or a quote whose string is not all here yet."""

_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_LINE_END = re.compile(rb"\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one document and the line, from 1, on which it begins."""

    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that holds no document. `reason` is a stable lower_snake word."""

    line: int
    reason: str
    message: str
    whole: bool = False


def find_whole_fault(
    chunks: Iterable[bytes], *, max_document_bytes: int, wrapper: str = ""
) -> Fault | None:
    """The fault for which nothing of a stream may be kept; lines are trusted one by one."""
    try:
        stream = _Stream(chunks, max_document_bytes)
        stream.skip_space()
        if not stream.at_end() and _form_of(stream, wrapper) is _split_lines:
            stream.drain()
            return None
        faults = (item for item in _split(stream, wrapper) if isinstance(item, Fault))
        return next((fault for fault in faults if fault.whole), None)
    except _Stop as stop:
        return stop.fault


def split_documents(
    chunks: Iterable[bytes], *, max_document_bytes: int, wrapper: str = ""
) -> Iterator[Piece | Fault]:
    """Documents and faults in the order of the stream.

    With `wrapper`, an object that begins with this key and an array is a page: the array's items
    are the documents and what follows the array is skipped; pages may follow each other.
    """
    try:
        stream = _Stream(chunks, max_document_bytes)
        stream.skip_space()
        yield from _split(stream, wrapper)
    except _Stop as stop:
        yield stop.fault


def _split(stream: _Stream, wrapper: str) -> Iterator[Piece | Fault]:
    if stream.at_end():
        raise _Stop(stream.line, "empty", "there is no document")
    yield from _form_of(stream, wrapper)(stream)


def _form_of(stream: _Stream, wrapper: str) -> Callable[[_Stream], Iterator[Piece | Fault]]:
    """How a stream is cut, as its beginning tells."""
    if stream.peek(1) == b"[":
        return partial(_split_array, whole=True)
    if wrapper and _opening(stream, wrapper):
        return partial(_split_pages, wrapper=wrapper)
    if stream.peek(1) == b"{" and not _has_lines(stream):
        return _split_values
    return _split_lines


class _Stop(Exception):  # noqa: N818 - carries a fault, is none
    def __init__(self, line: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line, reason, message, whole=True)


class _Stream:
    """What has been read and not yet cut off; `line` is the line on which that begins."""

    def __init__(self, chunks: Iterable[bytes], max_document_bytes: int) -> None:
        self._chunks = iter(chunks)
        self.max_document_bytes = max_document_bytes
        self._window = b""
        self._start = 0
        self.line = 1
        while len(self._window) < len(BOM) and self.more():
            pass
        if self._window.startswith(_UTF16):
            raise _Stop(1, "not_utf8", "UTF-16 text; JSON is UTF-8")
        if self._window.startswith(BOM):
            self._start = len(BOM)

    def __len__(self) -> int:
        return len(self._window) - self._start

    def more(self) -> bool:
        """Read on; false at the end of the stream."""
        for chunk in self._chunks:
            if chunk:
                self._window = self._window[self._start :] + chunk
                self._start = 0
                return True
        return False

    def search(self, pattern: re.Pattern[bytes], position: int) -> tuple[int, int, bytes] | None:
        """First match from `position` on: where it begins and ends, and its text."""
        matched = pattern.search(self._window, self._start + position)
        if matched is None:
            return None
        return matched.start() - self._start, matched.end() - self._start, matched[0]

    def peek(self, length: int) -> bytes:
        """The next bytes, left where they are."""
        return self._window[self._start : self._start + length]

    def take(self, length: int) -> bytes:
        """Cut bytes off the front."""
        data = self.peek(length)
        self._start += len(data)
        self.line += data.count(b"\n")
        return data

    def skip_space(self) -> None:
        """Cut white space off the front."""
        while True:
            matched = self.search(_NOT_SPACE, 0)
            self.take(len(self) if matched is None else matched[0])
            if matched is not None or not self.more():
                return

    def drain(self) -> None:
        """Read to the end, keeping nothing."""
        deque(self._chunks, maxlen=0)

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return not len(self) and not self.more()

    def too_large(self) -> _Stop:
        """The end of a stream whose next document is over the limit."""
        return _Stop(self.line, "too_large", _too_large_text(self))

    def truncated(self) -> _Stop:
        """The end of a stream that stops inside a document or an array."""
        return _Stop(self.line, "truncated", "the file ends in the middle of a document")


def _too_large_text(stream: _Stream) -> str:
    return f"a document has more than {stream.max_document_bytes} bytes"


def _split_array(stream: _Stream, *, whole: bool = False) -> Iterator[Piece | Fault]:
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


def _check_end(stream: _Stream) -> None:
    stream.skip_space()
    if not stream.at_end():
        raise _Stop(stream.line, "trailing", "text follows the end of the array")


_OPENING_BYTES = 4096
"""A page shows that it is one within this much, white space included."""


def _opening(stream: _Stream, wrapper: str) -> int:
    """Length of what stands before the array of a page; 0 where no page begins here."""
    while len(stream) < _OPENING_BYTES and stream.more():
        pass
    pattern = rb'\{\s*"' + re.escape(wrapper.encode()) + rb'"\s*:\s*(?=\[)'
    matched = re.match(pattern, stream.peek(_OPENING_BYTES))
    return matched.end() if matched else 0


def _split_pages(stream: _Stream, wrapper: str) -> Iterator[Piece | Fault]:
    while opening := _opening(stream, wrapper):
        stream.take(opening)
        yield from _split_array(stream)
        stream.take(_find_end(stream, inside_array=False, depth=1))
        stream.skip_space()
    _check_end(stream)


def _split_values(stream: _Stream) -> Iterator[Piece | Fault]:
    while not stream.at_end():
        if stream.peek(1) != b"{":
            raise _Stop(stream.line, "trailing", "text follows the end of a document")
        end = _find_end(stream, inside_array=False)
        line = stream.line
        yield Piece(line, stream.take(end))
        stream.skip_space()


def _find_end(stream: _Stream, *, inside_array: bool, depth: int = 0) -> int:
    """Length of the document at the front; its brackets and strings are followed.

    `depth` counts the brackets that were opened before.

    In an array it ends before a comma or bracket of the array; else with its own last bracket.
    """
    position = 0
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


def _has_lines(stream: _Stream) -> bool:
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


def _split_lines(stream: _Stream) -> Iterator[Piece | Fault]:
    while not stream.at_end():
        line = stream.line
        data = _take_line(stream)
        if data is None:
            yield Fault(line, "too_large", _too_large_text(stream))
        elif data := data.strip(_SPACE):
            yield Piece(line, data)


def _take_line(stream: _Stream) -> bytes | None:
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
    data = stream.take(len(stream) if matched is None else matched[1])
    return data if fits and len(data) <= stream.max_document_bytes + 1 else None
