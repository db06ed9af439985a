"""A small hash table in shared memory with one window a bucket, and a lock that all workers share.

Exact: a count is looked at and added to under the lock, so that two workers never both take the
last room. Rule for editors: made before the first fork; nobody waits for the lock longer than
`LOCK_S`, and what cannot be told counts as full.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

from secretivex.policy import Charge
from secretivex.stores.hosting.nameless import open_nameless

if sys.platform != "win32":
    import fcntl

BUCKETS = 16_384
"""Windows that may run at a time over all rules; 512 KiB."""

PROBES = 16
"""Buckets that one name may stand in; where all of them run for others, its count is unknown."""

LOCK_S = 0.1
"""A worker that was stopped in the middle would hold it; the system frees it when one dies."""

_BUCKET = struct.Struct("<16sdII")
"""Which count, when its window ends on the system's own clock, how many."""


class RateTable:
    """The counts of one agent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, buckets: int = BUCKETS) -> None:
        self._clock = clock
        self._buckets = buckets
        self._memory = mmap.mmap(-1, buckets * _BUCKET.size)
        self._lock = open_nameless()

    def used(self, charge: Charge, /) -> int | None:
        """How many were counted in the window that runs; None if there is no place for it."""
        place = self._find(_name_of(charge), self._clock())
        return None if place is None else place[1]

    def charge(self, charges: tuple[Charge, ...]) -> bool:
        """Add to every count, or to none if one of them is full or cannot be told."""
        with self._locked() as is_ours:
            if not is_ours:
                return False
            now = self._clock()
            places = []
            for charge in charges:
                name = _name_of(charge)
                place = self._find(name, now)
                if place is None or place[1] >= charge.limit:
                    return False
                places.append((name, charge, *place))
            for name, charge, offset, used, end in places:
                end_s = end if used else now + charge.per_s
                _BUCKET.pack_into(self._memory, offset, name, end_s, used + 1, 0)
        return True

    def _find(self, name: bytes, now: float) -> tuple[int, int, float] | None:
        """Offset, count and end of a window; a free bucket, with count 0, where none runs."""
        first = int.from_bytes(name[:8], "little")
        free: int | None = None
        for probe in range(PROBES):
            offset = (first + probe) % self._buckets * _BUCKET.size
            found, end, used, _ = _BUCKET.unpack_from(self._memory, offset)
            is_running = used and now < end
            if found == name and is_running:
                return offset, used, end
            if not is_running and free is None:
                free = offset
        return None if free is None else (free, 0, 0.0)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock for a moment; False if it cannot be had in time."""
        if sys.platform == "win32":
            yield True  # one process, one thread
            return
        give_up = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > give_up:
                    yield False
                    return
                time.sleep(0.0001)
        try:
            yield True
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


def _name_of(charge: Charge) -> bytes:
    return _hash(charge.bucket)


@lru_cache(1024)
def _hash(bucket: str) -> bytes:
    return hashlib.blake2b(bucket.encode(errors="surrogatepass"), digest_size=16).digest()
