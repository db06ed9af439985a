"""Hosts as a Fleet server exports them. Pure.

Source: Fleet's REST API (`GET hosts`, `GET hosts/:id`, `GET hosts/report` as CSV) and `fleetctl get
hosts --json`. What is not identity is kept under Fleet's own names below `facts.fleet`; cells of
the CSV report become the types that the API gives.
Rule for editors: columns of the report that are numbers or truth values stand in the tables below,
so that a policy sees one type whichever way a host came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fleetmdm.device import Device, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.convert import (
    flag,
    identify,
    integer,
    put_fact,
    system_of,
    usable,
    version_of,
)
from fleetmdm.ingest.read import (
    InventoryFile,
    Reading,
    Refused,
    begins_as_json,
    invalid,
    read_documents,
    refuse,
)
from fleetmdm.ingest.rows import Row, read_rows
from fleetmdm.rfc3339 import encode_time, parse_time

SEEN = ("seen_time", "detail_updated_at", "updated_at")
"""Times of a host, the one that says most about when it was last heard of first."""

_IDENTITY = frozenset({"uuid", "hostname", "hardware_serial", "labels", *SEEN})

_INTEGERS = (
    "id memory cpu_physical_cores cpu_logical_cores distributed_interval config_tls_refresh"
    " logger_tls_period team_id fleet_id primary_ip_id"
)
_NUMBERS = (
    "gigs_disk_space_available percent_disk_space_available gigs_total_disk_space"
    " gigs_all_disk_space"
)
_FLAGS = frozenset({"refetch_requested", "disk_encryption_enabled", "scripts_enabled"})


def read_fleet(files: Sequence[InventoryFile], reading: Reading) -> Iterator[Device | Refused]:
    """Devices and refusals, file by file; JSON is told from CSV by its first character."""
    if reading.columns:
        raise FleetError("usage", "--map is not for --from fleet", hint="use --from csv")
    for file in files:
        if begins_as_json(file):
            records = partial(_documents, file=file, reading=reading)
            yield from read_documents(file, reading, records, wrapper="hosts")
        else:
            yield from _read_report(file, reading)


def _documents(value: Any, file: InventoryFile, reading: Reading) -> Iterator[dict[str, Any]]:
    for host in _hosts(value):
        yield _convert(host, file, reading)


def _hosts(value: Any) -> list[Any]:
    """The hosts of an answer of the API, of one line of fleetctl, or the host itself."""
    if isinstance(value, dict):
        if "hosts" in value and isinstance(value["hosts"], list | None):
            # Go writes null where a list is empty.
            return list(value["hosts"] or ())
        if "errors" in value and "uuid" not in value:
            said = usable(value.get("message")) or "no message"
            raise invalid("failed", f"Fleet answered with an error: {said}"[:500])
        if isinstance(value.get("host"), dict):
            return [value["host"]]
        if value.get("kind") == "host" and isinstance(value.get("spec"), dict):
            return [value["spec"]]
    return [value]


def _convert(host: Any, file: InventoryFile, reading: Reading) -> dict[str, Any]:
    if not isinstance(host, dict):
        raise invalid("wrong_type", "a host of Fleet is a JSON object")
    device_id = identify([("uuid", host.get("uuid"))])
    names = (host.get("hostname"), host.get("computer_name"), host.get("display_name"))
    return {
        "device_id": device_id,
        "hostname": next((name for name in map(usable, names) if name), device_id),
        "os": system_of(host.get("platform"), host.get("platform_like")),
        "os_version": version_of(host.get("os_version")),
        "serial": usable(host.get("hardware_serial")),
        "last_seen": _last_seen(host) or encode_time(reading.moment_of(file)),
        "facts": _map(host),
        "tags": _tags(host),
    }


def _last_seen(host: Mapping[str, Any]) -> str | None:
    for name in SEEN:
        value = host.get(name)
        if isinstance(value, str) and value:
            try:
                moment = parse_time(value)
            except ValueError as error:
                raise invalid("bad_time", f"{name}: {error}") from None
            # Go writes the zero time where a host was never heard of.
            if moment.year > 1:
                return encode_time(moment)
    return None


def _map(host: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in host.items() if name not in _IDENTITY}
    facts: dict[str, Any] = {"fleet": rest}
    encrypted = host.get("disk_encryption_enabled")
    put_fact(facts, ("disk_encryption", "root"), encrypted if type(encrypted) is bool else None)
    if system_of(host.get("platform"), host.get("platform_like")) == "linux":
        put_fact(facts, ("kernel", "machine"), usable(host.get("cpu_type")))
        put_fact(facts, ("os_release", "version_codename"), usable(host.get("code_name")))
    return facts


def _tags(host: Mapping[str, Any]) -> list[str]:
    """Names of the labels that people made; Fleet's own say nothing that facts do not."""
    labels = host.get("labels")
    if not isinstance(labels, list):
        return []
    return [
        label["name"]
        for label in labels
        if isinstance(label, dict)
        and usable(label.get("name"))
        and label.get("label_type") != "builtin"
    ]


def _read_report(file: InventoryFile, reading: Reading) -> Iterator[Device | Refused]:
    for row in read_rows(file, reading.limits, partial(_refuse_report, file.name)):
        if isinstance(row, Refused):
            yield row
            continue
        try:
            document = _convert(_host(row), file, reading)
            yield parse_device(document, now=reading.now, limits=reading.limits)
        except FleetError as error:
            yield refuse(error, file.name, row.line)


def _refuse_report(name: str, columns: Sequence[str]) -> Refused | None:
    if "uuid" in columns:
        return None
    hint = "such as GET hosts, fleetctl get hosts --json, or the CSV of hosts/report"
    message = "neither JSON nor a report of hosts with a column uuid"
    return Refused(name, 1, "unknown_shape", message, hint)


def _host(row: Row) -> dict[str, Any]:
    """A row of the report as the API gives the host; empty cells are left out."""
    return {
        name: value
        for name, text in row.cells.items()
        if text and (value := _cell(name, text)) is not None
    }


def _cell(name: str, text: str) -> Any:
    if name in _INTEGERS.split():
        return integer(text)
    if name in _FLAGS:
        return flag(text)
    if name in _NUMBERS.split():
        try:
            return float(text)
        except ValueError:
            return None
    return text
