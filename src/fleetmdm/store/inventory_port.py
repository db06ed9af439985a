"""The part of the store's port that keeps devices, in domain words.

Rules for editors: those of `port`. What a source says of a device never wipes what another says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from fleetmdm.device import Device
from fleetmdm.ingest.sources import Source
from fleetmdm.store.incoming import BlockSource


@dataclass(frozen=True, slots=True)
class IngestCounts:
    """What became of the documents of one ingest; the others add up to `received`."""

    received: int = 0
    added: int = 0
    changed: int = 0
    """Facts differ from those that were kept."""
    refreshed: int = 0
    """Same facts, seen later."""
    unchanged: int = 0
    older: int = 0
    """Seen before the document that is kept, so left out."""
    duplicate: int = 0
    """Replaced by a newer document of the same device within this ingest."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What had come in when a run began."""

    counts: IngestCounts
    """Over every ingest that changed something."""
    documents: int
    """In force: one for each device and source."""


@dataclass(frozen=True, slots=True)
class Retired:
    """A device that people took out of the fleet, and when."""

    device_id: str
    retired_at: datetime


@dataclass(frozen=True, slots=True)
class SerialConflict:
    """One serial number under several device ids: a machine known twice, or a cloned one."""

    serial: str
    device_ids: tuple[str, ...]
    """In order; the first `MAX_CONFLICTING` of them."""
    count: int
    """How many devices there are."""


MAX_CONFLICTING = 20
"""Devices of one conflict that are named."""


class SnapshotOvertaken(Exception):  # noqa: N818 - it asks for another try, it is no error
    """Another ingest changed a snapshot on which a document builds: read again, and build anew."""


NO_BASES: Mapping[str, str | None] = MappingProxyType({})
"""Documents that build on nothing."""


class InventoryStore(Protocol):
    """Devices, and what sources say of them."""

    def put_devices(
        self,
        devices: Iterable[Device],
        *,
        source: Source = Source.DOCUMENT,
        now: datetime,
        based_on: Mapping[str, str | None] = NO_BASES,
    ) -> IngestCounts:
        """Keep documents; an older `last_seen` never overwrites a newer one. All or nothing.

        Others may read and write while `devices` is still being drawn from; what it raises passes
        through and nothing is kept. `based_on` says of devices that continue what was kept which
        snapshot that was (`facts_hash`, None for none); it may grow while `devices` is drawn
        from. Where another is kept by now, nothing is and `SnapshotOvertaken` is raised.
        """
        ...

    def put_blocks(
        self,
        blocks: BlockSource,
        *,
        source: Source = Source.DOCUMENT,
        now: datetime,
        based_on: Mapping[str, str | None] = NO_BASES,
    ) -> IngestCounts:
        """`put_devices` of documents that somebody made ready, perhaps in other processes."""
        ...

    def devices(self, *, device_id: str | None = None) -> Iterator[Device]:
        """Current devices in the order of their ids, each the union of its sources."""
        ...

    def snapshot(self, device_id: str, source: Source) -> Device | None:
        """What one source says of a current device; None where it says nothing."""
        ...

    def tag_device(
        self, device_id: str, *, add: Collection[str], remove: Collection[str], now: datetime
    ) -> Device:
        """Change the tags that people gave; answers the device as it is then.

        Raises `device_not_found`, and `tag_not_removable` for a tag that a document bears.
        """
        ...

    def serial_conflicts(self) -> Iterator[SerialConflict]:
        """Serial numbers that several current devices claim, by serial; placeholders are none."""
        ...

    def device_count(self) -> int:
        """How many devices are current."""
        ...

    def device_ids(self, *, prefix: str = "", limit: int = 0) -> Iterator[str]:
        """Ids of current devices that begin so, in order; 0 is all."""
        ...

    def retire_device(self, device_id: str, *, now: datetime) -> None:
        """Let a device leave the fleet; past runs keep it. Raises `device_not_found`."""
        ...
