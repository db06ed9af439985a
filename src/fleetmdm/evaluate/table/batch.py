"""Devices of one block whose facts are kept by column: what a full check judges. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetmdm.evaluate.table.read import FactTable


@dataclass(frozen=True, slots=True)
class FactBatch:
    """Every sequence has one item for each device."""

    device_ids: Sequence[str]
    last_seen: Sequence[str]
    """RFC 3339 in UTC, as `encode_time` writes it."""
    hashes: Sequence[bytes]
    """SHA-256 of what `encode_facts` writes of each."""
    handles: Sequence[int]
    """How the store that gave the batch knows its devices."""
    table: FactTable

    def __len__(self) -> int:
        return len(self.device_ids)
