"""Taking documents apart into columns. Pure.

Objects are followed name by name, where most devices have one and all have few names together; what
stands at the end of a name is a column, lists and crowded or rare objects whole.
Rule for editors: what is written depends on the documents alone, so that it can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from fleetmdm.evaluate.columns import Column, encode_column
from fleetmdm.evaluate.fact_path import MISSING, follow_step
from fleetmdm.evaluate.table.cells import OBJECT, encode_cells

MAX_NAMES: Final = 64
"""Objects of a block that have more names together stay whole: such as packages by name."""
MAX_DEPTH: Final = 6
"""Names that are followed one below the other."""

FIELDS: Final = ("hostname", "os", "os_version", "serial", "tags", "facts")
"""Of a document; its id and when it was seen are kept elsewhere."""

Names = tuple[str, ...]

_encode_name: Final = msgspec.json.Encoder().encode


def column_name(names: Names) -> str:
    """How the column at some names is called in a table."""
    return _encode_name(names).decode()


def build_table(documents: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The columns of some documents, by `column_name`; a document has `FIELDS` as stored."""
    found: dict[str, bytes] = {}
    for field in FIELDS:
        for names, column in _split((field,), [document[field] for document in documents]):
            found[column_name(names)] = encode_cells(column)
    return found


def _split(names: Names, values: list[Any]) -> Iterator[tuple[Names, Column]]:
    kinds = set(map(type, values))
    below = _member_names(values, kinds) if len(names) <= MAX_DEPTH else None
    if below is None or len(below) > MAX_NAMES:
        yield names, _encode(values)
        return
    yield names, _encode([OBJECT if type(value) is dict else value for value in values])
    for name in below:
        yield from _split((*names, name), _members(values, name, kinds))


def _member_names(values: list[Any], kinds: set[type]) -> list[str] | None:
    """The names of all objects together; None where few values are objects."""
    if dict not in kinds:
        return None
    objects = values if len(kinds) == 1 else [value for value in values if type(value) is dict]
    return sorted(set().union(*objects)) if len(objects) * 2 > len(values) else None


def _members(values: list[Any], name: str, kinds: set[type]) -> list[Any]:
    """What stands below a name; where no object is, what following the name there gives."""
    if len(kinds) == 1:
        return [value.get(name, MISSING) for value in values]
    return [
        value.get(name, MISSING) if type(value) is dict else follow_step(value, name)
        for value in values
    ]


def _encode(values: list[Any]) -> Column:
    kinds = set(map(type, values))
    if kinds <= _PLAIN and len(set(values)) > len(values) // 2:
        # Hardly any value comes twice: looking them up would gain nothing.
        return Column(values, np.arange(len(values), dtype=np.int32))
    return encode_column(values)


_PLAIN: Final = {str, int, float, type(MISSING)}
"""Kinds whose values can stand by themselves."""
