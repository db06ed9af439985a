"""The part of the store's port that keeps the ledger and looks after the database itself.

Rules for editors: those of `port`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class UpkeepStore(Protocol):
    """The append-only ledger, the fleet's secret, and the database as a file."""

    # Ledger.

    def append_leaf(self, leaf: bytes) -> int:
        """Append one canonical leaf; answers its index."""
        ...

    def leaves(self) -> Iterator[bytes]:
        """Every leaf in order."""
        ...

    def leaf_of_run(self, run_id: int) -> int:
        """The index of the leaf that a run appended. Raises `run_not_found`."""
        ...

    def fleet_key(self) -> bytes:
        """The fleet's secret of 32 bytes, made with the database: salts and pseudonyms derive from it."""
        ...

    # Upkeep.

    def find_problems(self) -> Iterator[str]:
        """Sentences about damage, loose references and loose permissions; none is healthy."""
        ...

    def row_counts(self) -> dict[str, int]:
        """How many rows each part of the database has, by its name."""
        ...

    def compact(self) -> tuple[int, int]:
        """Give unused space back; bytes before and after."""
        ...

    def back_up(self, target: Path) -> None:
        """Write a consistent copy while others go on writing. Raises `output_exists`."""
        ...
