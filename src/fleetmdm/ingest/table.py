"""Any table as devices: `--from csv`, with columns chosen by name or by `--map`. Pure.

`--map FIELD=COLUMN`, or `--map FIELD:TYPE=COLUMN`. A field is a key of the device document, or a
dotted path below `facts.`; a column that bears the name of a field needs no map. An empty cell
says nothing.
Rule for editors: a cell that does not fit its type refuses its row; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from clikit.nearest import nearest
from fleetmdm.device import UNKNOWN, Device, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.convert import no_identity, put_fact, usable
from fleetmdm.ingest.read import InventoryFile, Reading, Refused, decode_document, invalid, refuse
from fleetmdm.ingest.rows import read_rows
from fleetmdm.rfc3339 import encode_time

KEYS = ("device_id", "hostname", "os", "os_version", "serial", "last_seen", "tags")
FACTS = "facts."

Type = Literal["text", "int", "float", "bool", "list", "json"]
TYPES: Final[Mapping[str, str]] = {
    "text": "as it stands (the default)",
    "int": "a whole number",
    "float": "a number",
    "bool": "true, yes, 1 or false, no, 0",
    "list": "texts between semicolons",
    "json": "any JSON value",
}

_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


@dataclass(frozen=True, slots=True)
class Column:
    """Where a field of the device comes from."""

    field: str
    kind: str
    name: str


def read_table(files: Sequence[InventoryFile], reading: Reading) -> Iterator[Device | Refused]:
    """Devices and refusals, row by row. Raises `usage` for a map that cannot be read."""
    mapped = [parse_column(text) for text in reading.columns]
    for file in files:
        columns: list[Column] | None = None
        refuse_columns = partial(_refuse_table, mapped, file.name)
        for row in read_rows(file, reading.limits, refuse_columns):
            if isinstance(row, Refused):
                yield row
                continue
            try:
                columns = columns or _choose(mapped, row.cells)
                document = _convert(row.cells, columns, file, reading)
                yield parse_device(document, now=reading.now, limits=reading.limits)
            except FleetError as error:
                yield refuse(error, file.name, row.line)


def parse_column(text: str) -> Column:
    """One `--map`. Raises `usage`."""
    left, equals, name = text.partition("=")
    field, colon, kind = left.partition(":")
    kind = kind if colon else "text"
    known = field in KEYS or (field.startswith(FACTS) and all(field.split(".")))
    if not equals or not name or not known or kind not in TYPES:
        hint = f"FIELD=COLUMN or FIELD:TYPE=COLUMN; FIELD is {', '.join(KEYS)} or facts.PATH"
        raise FleetError("usage", f"--map {text}: not understood", hint=hint)
    if kind != "text" and field in KEYS:
        raise FleetError("usage", f"--map {text}: only facts have a type", hint="leave it out")
    return Column(field, kind, name)


def _refuse_table(mapped: Sequence[Column], name: str, columns: Sequence[str]) -> Refused | None:
    """The one refusal of a table in which nothing is called, or mapped to, the identity."""
    if "device_id" in columns or any(column.field == "device_id" for column in mapped):
        return None
    near = nearest("device_id", columns) or next(iter(columns), "COLUMN")
    hint = f"name it with --map device_id={near!r}; the columns are: {', '.join(columns)}"
    return Refused(name, 1, "no_identity", "there is no column device_id", hint[:500])


def _choose(mapped: Sequence[Column], cells: Mapping[str, str]) -> list[Column]:
    """The columns to read: mapped ones, and those that bear the name of a field."""
    for column in mapped:
        if column.name not in cells:
            message = f"there is no column {column.name!r}"
            hint = f"the columns are: {', '.join(cells)}"[:500]
            raise invalid("unknown_column", message, hint=hint)
    taken = {column.field for column in mapped}
    named = [
        Column(name, "text", name)
        for name in cells
        if name not in taken and (name in KEYS or name.startswith(FACTS))
    ]
    return [*mapped, *named]


def _convert(
    cells: Mapping[str, str], columns: Sequence[Column], file: InventoryFile, reading: Reading
) -> dict[str, Any]:
    found: dict[str, Any] = {"facts": {}}
    for column in columns:
        text = cells[column.name]
        if not text:
            continue
        if column.field.startswith(FACTS):
            path = column.field.removeprefix(FACTS).split(".")
            _put(found["facts"], path, _typed(text, column), column)
        else:
            found[column.field] = text
    device_id = usable(found.get("device_id"))
    if device_id is None:
        raise no_identity("the row has no usable device_id")
    found["serial"] = usable(found.get("serial"))
    if "tags" in found:
        found["tags"] = _items(found["tags"].replace(",", ";"))
    seen = encode_time(reading.moment_of(file))
    rest = {"hostname": device_id, "os": UNKNOWN, "os_version": UNKNOWN, "last_seen": seen}
    return {**rest, **found, "device_id": device_id}


def _put(facts: dict[str, Any], path: Sequence[str], value: Any, column: Column) -> None:
    try:
        put_fact(facts, path, value)
    except (AttributeError, TypeError):
        message = f"{column.field} lies below another column's fact, which is no object"
        raise invalid("wrong_type", message) from None


def _typed(text: str, column: Column) -> Any:
    try:
        return _parse(text, column.kind)
    except (ValueError, FleetError):
        message = f"{column.name}: {text[:80]!r} is not of type {column.kind}"
        raise invalid("wrong_type", message, hint=TYPES[column.kind]) from None


def _parse(text: str, kind: str) -> Any:
    if kind == "text":
        return text
    if kind == "list":
        return _items(text)
    if kind == "bool":
        word = text.lower()
        if word not in _TRUE | _FALSE:
            raise ValueError(word)
        return word in _TRUE
    # JSON's numbers are meant: no blanks, underscores, hexadecimal digits or infinities.
    value = decode_document(text.encode())
    if kind == "json":
        return value
    if type(value) is int:
        return value if kind == "int" else float(value)
    if kind == "float" and type(value) is float:
        return value
    raise ValueError(json.dumps(value))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(";") if item.strip()]
