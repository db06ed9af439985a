"""osquery's result logs: snapshots, differences by event or by batch, and details of enrolment.

Source: osquery's documentation of logging (results logs, schedule epoch and counter) and of its
TLS API. Lines of all files are put in order of host and time in a temporary database on disk, so
that memory holds one host at a time. The rows of each query are kept below `facts.osquery`.
Rule for editors: differences say what a query found only from a known beginning on: the line with
counter 0, or what was kept before. Without one the query is unread, never empty.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from fleetmdm.device import Device, DeviceLimits, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.convert import moment_of_seconds, no_identity, usable
from fleetmdm.ingest.osquery.state import HostState
from fleetmdm.ingest.read import (
    InventoryFile,
    Reading,
    Refused,
    decode_document,
    invalid,
    read_pieces,
    refuse,
)
from fleetmdm.ingest.split import Piece

_LINES = """
CREATE TABLE lines (
    item INTEGER PRIMARY KEY, host TEXT NOT NULL, moment TEXT NOT NULL,
    file INTEGER NOT NULL, line INTEGER NOT NULL, data BLOB NOT NULL
) STRICT
"""

_BY_HOST = "SELECT host, moment, file, line, data FROM lines ORDER BY host, moment, item"


_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Line:
    """One result of one host."""

    host: str
    moment: datetime
    record: Mapping[str, Any]


def read_osquery(files: Sequence[InventoryFile], reading: Reading) -> Iterator[Device | Refused]:
    """Refusals of lines as they are met, then one device for each host."""
    if reading.columns:
        raise FleetError("usage", "--map is not for --from osquery", hint="see docs/inventory.md")
    # An empty name is a database that SQLite keeps on disk and removes when it is closed.
    with closing(sqlite3.connect("", isolation_level=None)) as spool:
        spool.execute("PRAGMA journal_mode = OFF")
        spool.execute(_LINES)
        spool.execute("BEGIN")
        for number, file in enumerate(files):
            yield from _spool(spool, number, file, reading)
        rows = spool.execute(_BY_HOST)
        for host, found in groupby(rows, key=itemgetter(0)):
            yield _build(host, found, files, reading)


def _spool(
    spool: sqlite3.Connection, number: int, file: InventoryFile, reading: Reading
) -> Iterator[Refused]:
    for item in read_pieces(file, reading.limits):
        if isinstance(item, Refused):
            yield item
            continue
        try:
            lines = [
                (line.host, line.moment.isoformat(), number, item.line, _encode(line.record))
                for line in _lines(item, file, reading)
            ]
        except FleetError as error:
            yield refuse(error, file.name, item.line)
            continue
        spool.executemany(
            "INSERT INTO lines (host, moment, file, line, data) VALUES (?, ?, ?, ?, ?)", lines
        )


def _lines(piece: Piece, file: InventoryFile, reading: Reading) -> Iterator[Line]:
    for record in _records(decode_document(piece.data)):
        if not isinstance(record, dict):
            raise invalid("wrong_type", "a result is a JSON object")
        if isinstance(record.get("host_details"), dict):
            moment = reading.moment_of(file)
        else:
            moment = _moment(record, reading)
            _check_shape(record)
        yield Line(_host(record), moment, record)


def _records(value: Any) -> list[Any]:
    """The results in what a logger sends: one, or a list below `data`; talk of the program is none."""
    if isinstance(value, dict) and value.get("log_type") == "status":
        return []
    if isinstance(value, dict) and value.get("log_type") == "result":
        data = value.get("data")
        return data if isinstance(data, list) else [data]
    return [value]


def _host(record: Mapping[str, Any]) -> str:
    for name in ("hostIdentifier", "host_identifier", "hostname"):
        if name in record:
            text = usable(record[name])
            if text is None:
                raise no_identity(f"{name} is empty or a placeholder")
            return text
    raise no_identity("the line has no hostIdentifier")


def _moment(record: Mapping[str, Any], reading: Reading) -> datetime:
    moment = moment_of_seconds(record.get("unixTime"))
    if moment is None:
        raise invalid("bad_time", "unixTime is not a number of seconds")
    if moment - reading.now > timedelta(seconds=reading.limits.max_clock_skew_s):
        raise invalid("clock_skew", f"{moment.isoformat()} lies in the future")
    return moment


def _check_shape(record: Mapping[str, Any]) -> None:
    batch = record.get("diffResults")
    shapes = (
        isinstance(record.get("snapshot"), list),
        isinstance(record.get("columns"), dict) and record.get("action") in {"added", "removed"},
        isinstance(batch, dict)
        and all(isinstance(batch.get(key, []), list) for key in ("added", "removed")),
    )
    name = record.get("name")
    if not any(shapes) or not isinstance(name, str) or not name:
        message = "neither a snapshot nor a difference of a named query"
        raise invalid("unknown_shape", message, hint="see docs/inventory.md")


def _build(
    host: str, found: Iterator[Any], files: Sequence[InventoryFile], reading: Reading
) -> Device | Refused:
    state: HostState | None = None
    file, line = 0, 1
    for _, moment, number, place, data in found:
        if state is None:
            state, file, line = HostState(host, reading.kept(host)), number, place
        state.apply(msgspec.json.decode(data), datetime.fromisoformat(moment))
    try:
        if state is None:
            raise invalid("empty", "no result")
        return _parse(state, reading.limits, reading.now)
    except FleetError as error:
        return refuse(error, files[file].name, line)


def _parse(state: HostState, limits: DeviceLimits, now: datetime) -> Device:
    return parse_device(state.document(), now=now, limits=limits)
