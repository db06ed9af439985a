"""Lines of the audit log until they are written: in pages that stay, one batch after the other.

Memory that comes from the system for every batch costs as much as to make the lines, for each page of
it is cleared first. Rule for editors: what a view of it shows is there until the next change.
"""

from __future__ import annotations

import mmap

FIRST_BYTES = 1024
"""Room before the lines, for one that must come first after all."""

SEAL_BYTES = 512
"""Room for the seal that follows the lines."""


class Batch:
    """Whole lines, of at most so many bytes together."""

    def __init__(self, most_bytes: int) -> None:
        self._room = memoryview(mmap.mmap(-1, FIRST_BYTES + most_bytes + SEAL_BYTES))
        self._end = FIRST_BYTES
        self.records = 0
        """How many there are."""

    @property
    def size(self) -> int:
        """Bytes of the lines."""
        return self._end - FIRST_BYTES

    def add(self, lines: bytes, records: int) -> None:
        """Put lines behind the others; ValueError where there is no room for them."""
        end = self._end + len(lines)
        self._room[self._end : end] = lines
        self._end = end
        self.records += records

    def lines(self, first: bytes = b"") -> memoryview:
        """That line, if there is one, and all of the batch after it."""
        begin = FIRST_BYTES - len(first)
        self._room[begin:FIRST_BYTES] = first
        return self._room[begin : self._end]

    def sealed(self, first: bytes, seal: bytes) -> memoryview:
        """The same, and the seal after it."""
        begin, end = FIRST_BYTES - len(first), self._end + len(seal)
        self._room[self._end : end] = seal
        return self._room[begin:end]

    def clear(self) -> None:
        """No line stands in it."""
        self._end = FIRST_BYTES
        self.records = 0
