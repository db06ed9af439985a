"""Reading inventory by blocks: in this process, and in others as well where there is enough to do.

Only our own documents, which come in numbers, are read so; blocks come out in the order of the files.
Rule for editors: what a block holds depends on the files alone, not on who read it.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final

from clikit.crew import Crew, spare_cores
from fleetmdm.errors import FleetError
from fleetmdm.ingest.read import InventoryFile, Reading, Refused, Stretch, read_stretches
from fleetmdm.store.incoming import BLOCK_DEVICES, BlockBuilder, ColumnsWanted, ReadBlock

_log: Final = logging.getLogger("fleetmdm.ingest")

ALONE_BLOCKS: Final = 2
"""So many blocks are read in this process before it asks for help."""
MAX_PROCESSES: Final = 8
"""This one writes: with more it would keep the others waiting."""
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
"""Large documents make smaller blocks."""

Batch = tuple[Stretch | Refused, ...]


def read_blocks(
    files: Sequence[InventoryFile], reading: Reading, wanted: ColumnsWanted, *, workers: int
) -> Iterator[ReadBlock]:
    """Blocks of our own documents. `workers` are processes: 1 is this one alone, 0 what pays."""
    if reading.columns:
        raise FleetError("usage", "--map is not for device documents", hint="use it with --from")
    tasks = ((batch, wanted()) for batch in _batches(files, reading))
    here = partial(_build, BlockBuilder(reading))
    yield from map(here, islice(tasks, ALONE_BLOCKS))
    for first in islice(tasks, 1):
        # What was kept before is for other sources, and a worker could not ask for it.
        told = Reading(reading.now, reading.limits)
        others = min(workers or spare_cores() + 1, MAX_PROCESSES) - 1
        with Crew(
            others, here=here, there=_do, start=_start, given=(told,), killed=_tell_killed
        ) as crew:
            yield from crew.do(chain((first,), tasks))


def _batches(files: Iterable[InventoryFile], reading: Reading) -> Iterator[Batch]:
    """What stands in the files, as many documents at a time as a block has."""
    held: list[Stretch | Refused] = []
    count = size = 0
    for item in _parts(files, reading):
        rest, room = item, BLOCK_DEVICES - count
        if isinstance(rest, Stretch) and len(rest.data) > room:
            yield (*held, rest.part(0, room))
            held, count, size, rest = [], 0, 0, rest.part(room)
        held.append(rest)
        count += 1 if isinstance(rest, Refused) else len(rest.data)
        size += 0 if isinstance(rest, Refused) else sum(map(len, rest.data))
        if count >= BLOCK_DEVICES or size > MAX_BATCH_BYTES:
            yield tuple(held)
            held, count, size = [], 0, 0
    if held:
        yield tuple(held)


def _parts(files: Iterable[InventoryFile], reading: Reading) -> Iterator[Stretch | Refused]:
    """What stands in the files, never more at once than a block has."""
    for file in files:
        for item in read_stretches(file, reading.limits):
            if isinstance(item, Refused):
                yield item
                continue
            for begin in range(0, len(item.data), BLOCK_DEVICES):
                yield item.part(begin, begin + BLOCK_DEVICES)


Task = tuple[Batch, bool]
"""A batch, and whether columns are wanted."""


def _build(builder: BlockBuilder, task: Task) -> ReadBlock:
    batch, with_columns = task
    return builder.build(batch, with_columns=with_columns)


def _tell_killed() -> None:
    _log.warning("a process that read was killed; its part is read by the others")


_builders: list[BlockBuilder] = []
"""Of a worker process: its builder; set once, by `_start`."""


def _start(reading: Reading) -> None:
    # A document has no cycles, and a block of them is gone as soon as it is made.
    gc.disable()
    _builders.append(BlockBuilder(reading))


def _do(task: Task) -> ReadBlock:
    return _build(_builders[0], task)
