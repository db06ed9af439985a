"""What osquery's results say of one host once they are applied in order. Pure.

Rows are a set: a row that is added twice is there once, so that the same log read again changes
nothing. Rule for editors: `document` writes a query's rows only if its beginning is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from fleetmdm.device import UNKNOWN, Device
from fleetmdm.fields import find_field
from fleetmdm.ingest.convert import (
    flag,
    integer,
    put_fact,
    system_of,
    usable,
    version_of,
)
from fleetmdm.rfc3339 import encode_time

MAX_ROWS = 5000
"""Rows of one query that are kept; more are a stream of events, not the state of a host."""

TABLES: Final[Mapping[str, frozenset[str]]] = {
    "os_version": frozenset({"name", "version", "platform"}),
    "system_info": frozenset({"hostname", "hardware_serial"}),
    "kernel_info": frozenset({"version"}),
    "secureboot": frozenset({"secure_boot"}),
    "system_controls": frozenset({"name", "current_value"}),
}
"""Tables that say what we have facts for, and the columns by which their rows are known."""

_encoder = msgspec.json.Encoder(order="sorted")

Rows = dict[bytes, Mapping[str, Any]]


class HostState:
    """The rows of every query of one host."""

    def __init__(self, host: str, kept: Device | None) -> None:
        self._host = host
        self._kept = kept
        self._queries: dict[str, Rows] = {}
        self._begun: dict[str, tuple[str, datetime]] = {}
        self._unread: dict[str, str] = {}
        self._seen: datetime | None = None
        if kept is not None and isinstance(kept.facts.get("osquery"), dict):
            for name, rows in kept.facts["osquery"].items():
                if isinstance(rows, list):
                    self._queries[name] = _as_set(rows)

    def apply(self, record: Mapping[str, Any], moment: datetime) -> None:
        """Take in one result; results come in the order of their moments."""
        self._seen = moment
        if "host_details" in record:
            for name, row in record["host_details"].items():
                self._replace(name, [row] if isinstance(row, dict) else [])
        elif isinstance(record.get("snapshot"), list):
            self._replace(record["name"], record["snapshot"])
        else:
            self._change(record, moment)

    def _replace(self, name: str, rows: Iterable[Any]) -> None:
        self._unread.pop(name, None)
        self._queries[name] = _as_set(rows)
        self._bound(name)

    def _change(self, record: Mapping[str, Any], moment: datetime) -> None:
        name, epoch = record["name"], str(record.get("epoch"))
        # All lines of one execution bear one moment; the first of counter 0 is the beginning.
        if integer(record.get("counter")) == 0 and self._begun.get(name) != (epoch, moment):
            self._begun[name] = (epoch, moment)
            self._replace(name, ())
        if name not in self._queries:
            self._unread.setdefault(name, "differences without their beginning (counter 0)")
            return
        batch = record.get("diffResults") or {str(record["action"]): [record["columns"]]}
        rows = self._queries[name]
        for key in _as_set(batch.get("removed", ())):
            rows.pop(key, None)
        rows.update(_as_set(batch.get("added", ())))
        self._bound(name)

    def _bound(self, name: str) -> None:
        if len(self._queries[name]) > MAX_ROWS:
            del self._queries[name]
            self._unread[name] = f"more than {MAX_ROWS} rows"

    def document(self) -> dict[str, Any]:
        """The device document."""
        system, version = self._row("os_version"), self._row("os_version").get("version")
        info, kept = self._row("system_info"), self._kept
        name = system_of(system.get("platform"), system.get("platform_like"))
        hostname = usable(info.get("hostname")) or usable(info.get("computer_name"))
        return {
            "device_id": self._host,
            "hostname": hostname or (kept.hostname if kept else self._host),
            "os": name if name != UNKNOWN or kept is None else kept.os,
            "os_version": version_of(version) if version or kept is None else kept.os_version,
            "serial": usable(info.get("hardware_serial")) or (kept.serial if kept else None),
            "last_seen": encode_time(self._seen) if self._seen else None,
            "facts": self._facts(),
        }

    def _facts(self) -> dict[str, Any]:
        queries = {name: list(rows.values()) for name, rows in self._queries.items()}
        facts: dict[str, Any] = {"osquery": queries}
        if self._unread:
            facts["unread"] = [
                {"key": f"osquery.{name}", "reason": reason}
                for name, reason in sorted(self._unread.items())
            ]
        system = self._row("os_version")
        if system_of(system.get("platform"), system.get("platform_like")) == "linux":
            put_fact(facts, ("kernel", "machine"), usable(system.get("arch")))
            put_fact(facts, ("kernel", "release"), usable(self._row("kernel_info").get("version")))
            put_fact(facts, ("os_release", "id"), usable(system.get("platform")))
            put_fact(facts, ("os_release", "version_codename"), usable(system.get("codename")))
        boot = self._row("secureboot")
        put_fact(facts, ("secure_boot", "enabled"), flag(boot.get("secure_boot")))
        put_fact(facts, ("secure_boot", "setup_mode"), flag(boot.get("setup_mode")))
        for row in self._rows("system_controls"):
            put_sysctl(facts, row)
        return facts

    def _row(self, table: str) -> Mapping[str, Any]:
        return next(iter(self._rows(table)), {})

    def _rows(self, table: str) -> list[Mapping[str, Any]]:
        """Rows of the first query, by name, that is called after a table and has its columns."""
        for name in sorted(self._queries):
            if name == table or name.endswith(tuple(f"{mark}{table}" for mark in "_/:.-")):
                rows = list(self._queries[name].values())
                if rows and all(row.keys() >= TABLES[table] for row in rows):
                    return rows
        return []


def put_sysctl(facts: dict[str, Any], row: Mapping[str, Any]) -> None:
    """A kernel setting that the catalogue knows, as a number."""
    path = f"sysctl.{row['name']}"
    if find_field(path) is not None:
        put_fact(facts, path.split("."), integer(row["current_value"]))


def _as_set(rows: Iterable[Any]) -> Rows:
    return {_encoder.encode(row): row for row in rows if isinstance(row, dict)}
