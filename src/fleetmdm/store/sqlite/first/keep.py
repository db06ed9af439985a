"""Keeping what the first run begins, comparing later runs with it, and making rows of what changes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import NEVER, decode_end
from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.store.codec import encode_stamp
from fleetmdm.store.incoming import BLOCK_DEVICES
from fleetmdm.store.sqlite.first.form import (
    KINDS,
    Packed,
    encode_packed,
    first_run,
    read_packed,
)
from fleetmdm.store.sqlite.recording.rows import Row, Rows

_POLICY_BITS: Final = 32

_NAMES: Final = [state.value for state in STATES]
_CODES: Final = {name: code for code, name in enumerate(_NAMES)}

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FirstRows:
    """Rows of one or more blocks, by device, then policy; `codes` are places in `STATES`."""

    devices: npt.NDArray[np.int64]
    policies: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    findings: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.devices)

    def stored(
        self, texts: Callable[[int], Any]
    ) -> Iterator[tuple[int, int, str, Any, str | None]]:
        """As `results` has them, each with what `texts` gives for its finding."""
        return zip(
            self.devices.tolist(),
            self.policies.tolist(),
            map(_NAMES.__getitem__, self.codes.tolist()),
            map(texts, self.findings.tolist()),
            map(_stamp, self.ends.tolist()),
            strict=True,
        )


_NOTHING: Final = np.zeros(0, np.int64)
_NO_ROWS: Final = FirstRows(_NOTHING, _NOTHING, np.zeros(0, np.uint8), _NOTHING, _NOTHING)


def _join(parts: Sequence[FirstRows]) -> FirstRows:
    names = [field.name for field in fields(FirstRows)]
    every = (_NO_ROWS, *parts)
    return FirstRows(*(np.concatenate([getattr(part, name) for part in every]) for name in names))


def _stamp(end: int) -> str | None:
    until = None if end == NEVER else decode_end(end)
    return None if until is None else encode_stamp(until)


def write_first(
    connection: sqlite3.Connection, block: int, run: int, rows: Rows, findings: Sequence[int]
) -> None:
    """Keep what the first run says of a block; `findings` are the numbers of the rows' texts."""
    columns: tuple[npt.NDArray[Any], ...] = (
        rows.devices - block * BLOCK_DEVICES,
        rows.policies,
        rows.codes,
        np.array(findings, np.int64)[rows.findings],
        rows.ends,
    )
    kinds = zip(columns, KINDS, strict=True)
    packed = [column.astype(f"<{kind}").tobytes() for column, kind in kinds]
    connection.execute(
        "INSERT INTO first_results VALUES (?, ?, ?)", (block, run, encode_packed(_NAMES, packed))
    )


def read_first(
    connection: sqlite3.Connection, blocks: Collection[int] | None = None
) -> Iterator[FirstRows]:
    """The rows that still count, block by block; of some blocks, or of all."""
    for packed in read_packed(connection, blocks):
        yield _unpack(packed, ~_gone(packed))


def _unpack(packed: Packed, mask: Mask) -> FirstRows:
    """Those of its rows that a mask says."""
    known = np.array([_CODES[name] for name in packed.names], np.uint8)
    return FirstRows(
        np.asarray(packed.devices)[mask].astype(np.int64) + packed.block * BLOCK_DEVICES,
        np.asarray(packed.policies)[mask].astype(np.int64),
        known[np.asarray(packed.states)[mask]],
        np.asarray(packed.findings)[mask].astype(np.int64),
        np.asarray(packed.ends)[mask].astype(np.int64),
    )


def _gone(packed: Packed) -> Mask:
    if packed.gone is None:
        return np.zeros(len(packed), np.bool_)
    bits = np.frombuffer(packed.gone, np.uint8)
    return np.unpackbits(bits, count=len(packed)).astype(np.bool_)


def count_first(connection: sqlite3.Connection) -> int:
    """How many rows still count."""
    return sum(map(len, read_first(connection)))


def first_of_devices(connection: sqlite3.Connection, devices: Collection[int]) -> list[Row]:
    """What `results` would have of some devices, findings written out."""
    if first_run(connection) is None:
        return []
    numbers = np.fromiter(devices, np.int64, len(devices))
    of_block = numbers // BLOCK_DEVICES
    parts = []
    for packed in read_packed(connection, set(of_block.tolist())):
        wanted = np.zeros(BLOCK_DEVICES, np.bool_)
        wanted[numbers[of_block == packed.block] % BLOCK_DEVICES] = True
        parts.append(_unpack(packed, wanted[np.asarray(packed.devices)] & ~_gone(packed)))
    rows = _join(parts)
    texts = _read_texts(connection, np.unique(rows.findings).tolist())
    return list(rows.stored(texts.__getitem__))


def _read_texts(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, bytes]:
    sql = "SELECT number, data FROM json_each(?) CROSS JOIN findings ON number = value"
    return dict(connection.execute(sql, (json.dumps(numbers),)).fetchall())


def lift_first(connection: sqlite3.Connection, table: str, until: int | None) -> None:
    """Make rows of `results` of the pairs in a temporary table, ended at a run or still open.

    Inside the caller's transaction.
    """
    run = first_run(connection)
    if run is None:
        return
    blocks = connection.execute(f"SELECT DISTINCT device / {BLOCK_DEVICES} FROM temp.{table}")  # noqa: S608 - names of ours
    for (block,) in blocks.fetchall():
        for packed in read_packed(connection, [block]):
            gone = _gone(packed)
            lifted = _named(connection, table, packed) & ~gone
            if lifted.any():
                _insert(connection, _unpack(packed, lifted), run, until)
                _mark(connection, block, gone | lifted)


def _named(connection: sqlite3.Connection, table: str, packed: Packed) -> Mask:
    """Which rows a temporary table of pairs names."""
    first = packed.block * BLOCK_DEVICES
    pairs = connection.execute(
        f"SELECT (device << {_POLICY_BITS}) | policy FROM temp.{table} WHERE device BETWEEN ? AND ?",  # noqa: S608 - names of ours
        (first, first + BLOCK_DEVICES - 1),
    ).fetchall()
    wanted = np.array(pairs, np.int64).reshape(-1)
    devices = np.asarray(packed.devices).astype(np.int64) + first
    return np.isin((devices << _POLICY_BITS) | np.asarray(packed.policies), wanted)


_LIFT: Final = """
INSERT INTO results (device, policy, since_run, until_run, status, finding, valid_until)
VALUES (?, ?, {run:d}, {until}, ?, ?, ?)
"""


def _insert(connection: sqlite3.Connection, rows: FirstRows, run: int, until: int | None) -> None:
    sql = _LIFT.format(run=run, until="NULL" if until is None else int(until))
    connection.executemany(sql, rows.stored(int))


def _mark(connection: sqlite3.Connection, block: int, gone: Mask) -> None:
    connection.execute(
        "INSERT INTO first_gone VALUES (?, ?) ON CONFLICT (block) DO UPDATE SET gone = excluded.gone",
        (block, np.packbits(gone).tobytes()),
    )
