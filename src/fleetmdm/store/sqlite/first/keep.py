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
    Written,
    encode_packed,
    first_run,
    read_written,
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
    for written in read_written(connection, blocks):
        yield _unpack(written, ~_gone(written))


def _columns(written: Written) -> list[npt.NDArray[Any]]:
    kinds = zip(written.columns, KINDS, strict=True)
    return [np.frombuffer(data, f"<{kind}") for data, kind in kinds]


def _unpack(written: Written, mask: Mask) -> FirstRows:
    """Those of its rows that a mask says."""
    places = np.flatnonzero(mask)
    devices, policies, states, findings, ends = (one[places] for one in _columns(written))
    known = np.array([_CODES[name] for name in written.names], np.uint8)
    return FirstRows(
        devices.astype(np.int64) + written.block * BLOCK_DEVICES,
        policies.astype(np.int64),
        known[states],
        findings.astype(np.int64),
        ends.astype(np.int64),
    )


def _gone(written: Written) -> Mask:
    if written.gone is None:
        return np.zeros(len(written), np.bool_)
    bits = np.frombuffer(written.gone, np.uint8)
    return np.unpackbits(bits, count=len(written)).astype(np.bool_)


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
    for written in read_written(connection, set(of_block.tolist())):
        wanted = np.zeros(BLOCK_DEVICES, np.bool_)
        wanted[numbers[of_block == written.block] % BLOCK_DEVICES] = True
        parts.append(_unpack(written, wanted[_columns(written)[0]] & ~_gone(written)))
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
    named, marks = _read_pairs(connection, table), []
    blocks = np.unique((named >> _POLICY_BITS) // BLOCK_DEVICES).tolist()
    for written in read_written(connection, blocks):
        gone = _gone(written)
        lifted = _named(written, named) & ~gone
        if lifted.any():
            _insert(connection, _unpack(written, lifted), run, until)
            marks.append((written.block, np.packbits(gone | lifted).tobytes()))
    # Only now: what is being read is not written.
    connection.executemany(_MARK, marks)


def _read_pairs(connection: sqlite3.Connection, table: str) -> npt.NDArray[np.int64]:
    """The pairs of a temporary table, ascending, each as one number."""
    rows = connection.execute(
        f"SELECT (device << {_POLICY_BITS}) | policy FROM temp.{table} ORDER BY device, policy"  # noqa: S608 - names of ours
    )
    return np.fromiter((pair for (pair,) in rows), np.int64)


def _named(written: Written, named: npt.NDArray[np.int64]) -> Mask:
    """Which rows of a block are among pairs that ascend."""
    first = written.block * BLOCK_DEVICES
    bounds = np.array([first, first + BLOCK_DEVICES], np.int64) << _POLICY_BITS
    begin, end = np.searchsorted(named, bounds).tolist()
    devices, policies = _columns(written)[:2]
    pairs = (devices.astype(np.int64) + first) << _POLICY_BITS | policies
    return np.isin(pairs, named[begin:end])


_MARK: Final = """
INSERT INTO first_gone VALUES (?, ?) ON CONFLICT (block) DO UPDATE SET gone = excluded.gone
"""

_LIFT: Final = """
INSERT INTO results (device, policy, since_run, until_run, status, finding, valid_until)
VALUES (?, ?, {run:d}, {until}, ?, ?, ?)
"""


def _insert(connection: sqlite3.Connection, rows: FirstRows, run: int, until: int | None) -> None:
    sql = _LIFT.format(run=run, until="NULL" if until is None else int(until))
    connection.executemany(sql, rows.stored(int))
