"""The packed rows as answers to who asks for results: in the order of names, without numpy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fleetmdm.results import Finding, ResultRow, Status
from fleetmdm.store.incoming import BLOCK_DEVICES
from fleetmdm.store.sqlite.first.form import first_run, read_packed
from fleetmdm.store.sqlite.recording.findings import MAX_DECODED, decode_known

HOLD: Final = "SELECT run FROM first_results UNION ALL VALUES (0), (0)"
"""While this is not read to its end, everything is read as it was when it was begun."""

_NAMES_AT_ONCE: Final = 16_384
"""Devices of which the rows are in memory together, in a fleet that is not very large."""

_MOST_PASSES: Final = 16
"""Names are in another order than blocks, so each part of them may read every block: with parts of one
size a fleet ten times as large would take a hundred times as long."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; None and the empty set are all."""

    device_id: str | None
    policy_id: str | None
    statuses: frozenset[Status]
    last: int | None = None
    """The last run that they may begin at."""


def read_answers(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[ResultRow]:
    """The rows that still count, by device id, then policy id."""
    run = first_run(connection)
    if run is None or (wanted.last is not None and run > wanted.last):
        return
    policies = _read_policies(connection, wanted)
    find = lru_cache(MAX_DECODED)(lambda number: _read_finding(connection, number))
    states = {state.value: state for state in Status if state in (wanted.statuses or Status)}
    for names in _read_names(connection, wanted):
        rows = _read_rows(
            connection, names, {number: at for at, (number, _) in enumerate(policies)}
        )
        for device, policy, state, finding in rows:
            status = states.get(state)
            if status is not None:
                found = find(finding)
                yield ResultRow(names[device][1], policies[policy][1], status, found, run, None)


def _read_rows(
    connection: sqlite3.Connection, names: list[tuple[int, str]], policies: dict[int, int]
) -> list[tuple[int, int, str, int]]:
    """Rows of the devices in `names` under `policies`, both by their places there, in their order."""
    places = {device: place for place, (device, _) in enumerate(names)}
    rows = []
    for packed in read_packed(connection, {device // BLOCK_DEVICES for device in places}):
        for device, policy, state, finding in packed.alive():
            place, rank = places.get(device), policies.get(policy)
            if place is not None and rank is not None:
                rows.append((place, rank, state, finding))
    rows.sort()
    return rows


def _read_names(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[list[tuple[int, str]]]:
    where = "" if wanted.device_id is None else "WHERE name = :device"
    found = connection.execute(
        f"SELECT device, name FROM device_names {where} ORDER BY name",  # noqa: S608 - one of two constants
        {"device": wanted.device_id},
    )
    (devices,) = connection.execute("SELECT count(*) FROM device_names").fetchone()
    size = max(_NAMES_AT_ONCE, devices // _MOST_PASSES)
    while names := found.fetchmany(size):
        yield names


def _read_policies(connection: sqlite3.Connection, wanted: Wanted) -> list[tuple[int, str]]:
    return connection.execute(
        "SELECT policy, name FROM policy_names WHERE :policy IS NULL OR name = :policy ORDER BY name",
        {"policy": wanted.policy_id},
    ).fetchall()


def _read_finding(connection: sqlite3.Connection, number: int) -> tuple[Finding, ...]:
    row = connection.execute("SELECT data FROM findings WHERE number = ?", (number,)).fetchone()
    return decode_known(row[0])
