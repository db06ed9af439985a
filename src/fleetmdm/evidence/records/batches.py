"""The records of many devices at a time, made in this process or in others: bytes that are written.

Rule for editors: what comes of a batch depends on the batch and on what every worker was told, so
that a pack is the same however many processes made it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from clikit.crew import Crew
from fleetmdm.device import DocumentBatch
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Block, Written, pack_block
from fleetmdm.evidence.records.maker import RecordMaker, Said
from fleetmdm.evidence.records.values import RecordError
from fleetmdm.evidence.redact import Redaction
from fleetmdm.ledger.roots import RunInventory

_log: Final = logging.getLogger("fleetmdm.evidence")

BATCH_DEVICES: Final = 128
BATCH_ROWS: Final = 256

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class DeviceBatch:
    """Devices in the order of their ids."""

    reason: str
    documents: DocumentBatch
    listed: tuple[bool, ...] | None
    """Whether an outside list has each; None where there is no such list."""


@dataclass(frozen=True)
class RowBatch:
    """Verdicts."""

    rows: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Unwritable:
    """Why a batch has no records: one of its devices cannot be recorded."""

    device_id: str
    problem: str


@dataclass(frozen=True)
class MadeDevices:
    """The records of some devices."""

    population: Block
    inventory: Block
    leaves: list[bytes]
    """Of the tree over what the run judged (`RunInventory`)."""


Batch = DeviceBatch | RowBatch
Made = MadeDevices | Block | Unwritable


@dataclass(frozen=True)
class Desk:
    """What makes records: in this process, or in another."""

    maker: RecordMaker
    inventory: RunInventory

    def make(self, batch: Batch) -> Made:
        """The records of a batch."""
        if isinstance(batch, RowBatch):
            return pack_block(list(map(self.maker.result, batch.rows)))
        pairs: list[tuple[Written, Written]] = []
        documents = batch.documents
        listed = batch.listed or (None,) * len(documents)
        rows = zip(documents.device_ids, documents.facts, documents.last_seen, listed, strict=True)
        for device_id, facts, seen, known in rows:
            try:
                pairs.append(self.maker.device(facts, seen, reason=batch.reason, listed=known))
            except RecordError as error:
                return Unwritable(device_id, str(error))
        return MadeDevices(
            pack_block([who for who, _ in pairs]),
            pack_block([what for _, what in pairs]),
            self.inventory.hash(documents),
        )


def in_batches(items: Iterable[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    """The items, so many at a time."""
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


def make_together(
    maker: RecordMaker, roots: int, secret: bytes, salt_key: bytes, workers: int
) -> Crew[Batch, Made]:
    """Those who make batches: `maker` here, and `workers` processes with one of their own.

    `roots` is that of the run.
    """
    return Crew(
        workers,
        here=Desk(maker, RunInventory(roots, secret)).make,
        there=_do,
        start=_start,
        given=(roots, secret, salt_key, maker.redaction),
        killed=lambda: _log.warning(
            "a process that made records was killed; its part is made by the others"
        ),
    )


_desks: list[Desk] = []
"""Of a worker process: its own; set once, by `_start`."""


def _start(roots: int, secret: bytes, salt_key: bytes, redaction: Redaction) -> None:
    maker = RecordMaker(FleetKeys(secret), salt_key, redaction)
    _desks.append(Desk(maker, RunInventory(roots, secret)))


def _do(batch: Batch) -> Made:
    return _desks[0].make(batch)
