"""What the audit writer and the workers know of each other, in memory that all of them share.

Each cell has one writer, so no lock is needed. Rule for editors: made before the first fork.
"""

from __future__ import annotations

import mmap

_CELL_BYTES = 8
_STUCK, _RECORDS, _FAILURES, _STEPS = range(4)
_DIGEST = slice(4, 8)
_HELD = 8
_FIRST_WORKER = 9

_MOST_LOOKS = 100


class AuditCells:
    """Whether the log can be written, and what was written, failed and dropped."""

    def __init__(self, workers: int) -> None:
        count = _FIRST_WORKER + workers + 1
        self._cells = memoryview(mmap.mmap(-1, count * _CELL_BYTES)).cast("Q")
        self._own = self._cells[_FIRST_WORKER:]

    @property
    def is_stuck(self) -> bool:
        """Whether the writer has something that it cannot write."""
        return bool(self._cells[_STUCK])

    @property
    def records(self) -> int:
        """Records written since the agent started."""
        return self._cells[_RECORDS]

    @property
    def failures(self) -> int:
        """Writes that failed since the agent started."""
        return self._cells[_FAILURES]

    @property
    def dropped(self) -> int:
        """Records that had to be dropped since the agent started."""
        return sum(self._cells[_FIRST_WORKER:])

    @property
    def seals(self) -> int:
        """Seals written since the agent started."""
        return self._cells[_STEPS] // 2

    @property
    def head(self) -> str:
        """Hash of the newest seal, "" before the first; looked at until it stands still."""
        for _ in range(_MOST_LOOKS):
            steps = self._cells[_STEPS]
            digest = bytes(self._cells[_DIGEST])
            if steps % 2 == 0 and steps == self._cells[_STEPS]:
                return digest.hex() if steps else ""
        return ""

    def stands_at(self, digest: bytes) -> None:
        """Said by the writer after each seal; the number of steps is odd meanwhile."""
        self._cells[_STEPS] |= 1
        self._cells[_DIGEST] = memoryview(digest).cast("Q")
        self._cells[_STEPS] += 1

    @property
    def held(self) -> int:
        """Records that the writer took, and has not written yet."""
        return self._cells[_HELD]

    def hold(self, records: int) -> None:
        """Said by the writer: it has so many more in its own memory, or less."""
        self._cells[_HELD] += records

    def lose_held(self) -> int:
        """Said by the supervisor of a writer that is gone: what it held counts as dropped."""
        held, self._cells[_HELD] = self._cells[_HELD], 0
        self.drop(-1, held)
        return held

    def wrote(self, records: int) -> None:
        """Said by the writer."""
        self._cells[_STUCK] = 0
        self._cells[_RECORDS] += records

    def failed(self) -> None:
        """Said by the writer."""
        self._cells[_STUCK] = 1
        self._cells[_FAILURES] += 1

    def drop(self, worker: int, records: int) -> None:
        """Said by a worker of its own records; -1 is the supervisor."""
        self._own[worker] += records
