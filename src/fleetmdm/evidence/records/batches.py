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
from fleetmdm.device import Device
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Block, Written, pack_block
from fleetmdm.evidence.records.maker import RecordMaker
from fleetmdm.evidence.records.values import RecordError
from fleetmdm.evidence.redact import Redaction
from fleetmdm.governance.effective import JudgedRow

_log: Final = logging.getLogger("fleetmdm.evidence")

BATCH_DEVICES: Final = 128
BATCH_ROWS: Final = 256

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """Devices in the order of their ids, each with whether an outside list has it."""

    reason: str
    devices: tuple[tuple[Device, bool | None], ...]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Verdicts, each with the names of its device that no field may give away."""

    rows: tuple[tuple[JudgedRow, frozenset[str]], ...]


@dataclass(frozen=True, slots=True)
class Unwritable:
    """Why a batch has no records: one of its devices cannot be recorded."""

    device_id: str
    problem: str


Batch = DeviceBatch | RowBatch
Made = tuple[Block, ...] | Unwritable
"""Of devices the blocks of population and inventory, of rows that of results."""


def make_batch(maker: RecordMaker, batch: Batch) -> Made:
    """The blocks of a batch."""
    if isinstance(batch, RowBatch):
        return (pack_block([maker.result(row, names) for row, names in batch.rows]),)
    pairs: list[tuple[Written, Written]] = []
    for device, listed in batch.devices:
        try:
            pairs.append(maker.device(device, reason=batch.reason, listed=listed))
        except RecordError as error:
            return Unwritable(device.device_id, str(error))
    return pack_block([who for who, _ in pairs]), pack_block([what for _, what in pairs])


def in_batches(items: Iterable[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    """The items, so many at a time."""
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


def make_together(
    maker: RecordMaker, secret: bytes, salt_key: bytes, workers: int
) -> Crew[Batch, Made]:
    """Those who make batches: `maker` here, and `workers` processes with one of their own."""
    return Crew(
        workers,
        here=lambda batch: make_batch(maker, batch),
        there=_do,
        start=_start,
        given=(secret, salt_key, maker.redaction),
        killed=lambda: _log.warning(
            "a process that made records was killed; its part is made by the others"
        ),
    )


_makers: list[RecordMaker] = []
"""Of a worker process: its own; set once, by `_start`."""


def _start(secret: bytes, salt_key: bytes, redaction: Redaction) -> None:
    _makers.append(RecordMaker(FleetKeys(secret), salt_key, redaction))


def _do(batch: Batch) -> Made:
    return make_batch(_makers[0], batch)
