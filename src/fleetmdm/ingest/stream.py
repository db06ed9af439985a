"""A stream of bytes of which documents are cut off at the front; holds what is not cut off yet. Pure.

Rule for editors: `line` is the line on which what is held begins.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that holds no document. `reason` is a stable lower_snake word."""

    line: int
    reason: str
    message: str
    whole: bool = False


class Stop(Exception):  # noqa: N818 - carries a fault, is none
    """The stream cannot be trusted from here on."""

    def __init__(self, line: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line, reason, message, whole=True)


class Stream:
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
            raise Stop(1, "not_utf8", "UTF-16 text; JSON is UTF-8")
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

    def find_front(self, pattern: re.Pattern[bytes]) -> int:
        """Length of what matches at the front; 0 for nothing."""
        matched = pattern.match(self._window, self._start)
        return matched.end() - self._start if matched else 0

    def peek(self, length: int) -> bytes:
        """The next bytes, left where they are."""
        return self._window[self._start : self._start + length]

    def take(self, length: int) -> bytes:
        """Cut bytes off the front."""
        data = self.peek(length)
        self._start += len(data)
        self.line += data.count(b"\n")
        return data

    def take_lines(self) -> list[bytes]:
        """Cut off every whole line that is here already, without their ends."""
        length = self._window.rfind(b"\n", self._start) + 1 - self._start
        return self.take(length).split(b"\n")[:-1] if length > 0 else []

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

    def too_large(self) -> Stop:
        """The end of a stream whose next document is over the limit."""
        return Stop(self.line, "too_large", too_large_text(self))

    def truncated(self) -> Stop:
        """The end of a stream that stops inside a document or an array."""
        return Stop(self.line, "truncated", "the file ends in the middle of a document")


def too_large_text(stream: Stream) -> str:
    """What is said of a document over the limit."""
    return f"a document has more than {stream.max_document_bytes} bytes"
