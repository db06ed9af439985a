"""Whether what is derived still says what it was derived from.

Columns are compared with documents, kept verdicts with rows, leaf hashes with what they are of, forms
of policies with sources. Rule for editors: every device is read, so that this is for `doctor` alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

from fleetmdm.device import DocumentBatch
from fleetmdm.evaluate.operators.kinds import same
from fleetmdm.evaluate.table import FactBatch
from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.ledger.roots import InventoryLeaves, ResultLeaves, root_salt
from fleetmdm.results import SILENT
from fleetmdm.store.port import RunOvertaken
from fleetmdm.store.sqlite.blocks.columns import BlockReader
from fleetmdm.store.sqlite.blocks.documents import (
    BLOCK_DEVICES,
    read_block_documents,
    read_some_documents,
)
from fleetmdm.store.sqlite.connection import read_fleet_key
from fleetmdm.store.sqlite.first.keep import count_first
from fleetmdm.store.sqlite.policies import find_odd_forms
from fleetmdm.store.sqlite.recording.basis import read_basis
from fleetmdm.store.sqlite.recording.block_state import (
    ABSENT,
    BlockState,
    keep_all,
    read_state,
)
from fleetmdm.store.sqlite.recording.changed import read_changed
from fleetmdm.store.sqlite.revisions import latest_revision

_decode: Final = msgspec.json.Decoder().decode
_STORED: Final = np.array([state not in SILENT for state in STATES] + [False] * (256 - len(STATES)))
"""By the byte of a state, the absent device's included."""


def _read_states(connection: sqlite3.Connection, policies: int) -> Iterator[tuple[int, BlockState]]:
    kept, changed = keep_all(policies), read_changed(connection, policies)
    for (block,) in connection.execute("SELECT block FROM judged_blocks ORDER BY block").fetchall():
        yield block, read_state(connection, block, kept, changed)


def find_derived_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Sentences about what is derived and wrong."""
    revision = latest_revision(connection)
    reader = BlockReader(connection, revision)
    blocks = connection.execute("SELECT block FROM fact_blocks ORDER BY block").fetchall()
    for (block,) in blocks:
        for batch in reader.read(block).batches:
            if isinstance(batch, FactBatch):
                for documents in read_some_documents(connection, revision, batch.handles):
                    yield from _compare(block, batch, documents)
    try:
        yield from _find_stray_verdicts(connection)
        yield from _find_stray_leaves(connection)
    except RunOvertaken:
        yield "what is kept of the newest run cannot be read"
    yield from find_odd_forms(connection)


def _compare(block: int, batch: FactBatch, documents: DocumentBatch) -> Iterator[str]:
    if list(batch.handles) != list(documents.handles):
        yield f"block {block} keeps columns of devices that have no documents"
        return
    rows = zip(batch.device_ids, batch.table.documents(), documents.facts, strict=True)
    for place, (name, kept, data) in enumerate(rows):
        document: dict[str, Any] = _decode(data)
        if (
            document.pop("device_id") != name
            or batch.hashes[place] != documents.hashes[place]
            or not same(kept, document)
        ):
            yield f"the columns of block {block} say otherwise than the document of {name}"


def _find_stray_verdicts(connection: sqlite3.Connection) -> Iterator[str]:
    row = connection.execute(
        "SELECT judged.run, runs.devices, runs.policies FROM judged JOIN runs USING (run)"
    ).fetchone()
    if row is None:
        return
    run, devices, policies = row
    stored = there = 0
    for _, state in _read_states(connection, policies):
        stored += int(_STORED[state.codes].sum())
        there += int((state.codes[:, 0] != ABSENT).sum()) if policies else 0
    sql = "SELECT count(*) FROM results WHERE until_run IS NULL"
    if stored != connection.execute(sql).fetchone()[0] + count_first(connection):
        yield f"the verdicts kept of run {run} are not those that its rows tell"
    if there != devices:
        yield f"verdicts of {there} devices are kept of run {run}, which judged {devices}"


def _find_stray_leaves(connection: sqlite3.Connection) -> Iterator[str]:
    basis = read_basis(connection)
    if basis is None:
        return
    salt, names = root_salt(read_fleet_key(connection)), sorted(basis.policies)
    of_results, of_inventory = ResultLeaves(names, STATES, salt), InventoryLeaves(salt)
    for block, state in _read_states(connection, len(names)):
        for batch in read_block_documents(connection, basis.revision, block):
            places = np.array(batch.handles, np.int64) % BLOCK_DEVICES
            codes = map(bytes, state.codes[places])
            made = of_results.hashes(zip(batch.device_ids, codes, strict=True))
            seen = of_inventory.of(batch.hashes, batch.last_seen)
            if state.results[places].tobytes() != b"".join(made):
                yield f"leaf hashes kept of block {block} are not those of its verdicts"
            if state.inventory[places].tobytes() != b"".join(seen):
                yield f"leaf hashes kept of block {block} are not those of its documents"
