"""Taking documents apart into columns. Pure.

Objects are followed name by name, where most devices have one and all have few names together (at most
`MAX_NAMES`, or they stay whole); what stands at the end of a name is a column, lists and crowded or rare objects whole.
Rule for editors: what is written depends on the documents alone, so that it can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Struct

from fleetmdm.device.shapes import MAX_NAMES, plain_document
from fleetmdm.evaluate.columns import Column, encode_column
from fleetmdm.evaluate.fact_path import MISSING, follow_step
from fleetmdm.evaluate.table.cells import OBJECT, encode_cells, encode_values

MAX_DEPTH: Final = 6
"""Names that are followed one below the other."""

FIELDS: Final = ("hostname", "os", "os_version", "serial", "tags", "facts")
"""Of a document; its id and when it was seen are kept elsewhere."""

Names = tuple[str, ...]

_encode_name: Final = msgspec.json.Encoder().encode


def column_name(names: Names) -> str:
    """How the column at some names is called in a table."""
    return _encode_name(names).decode()


def build_table(documents: Sequence[Mapping[str, Any] | Struct]) -> dict[str, bytes]:
    """The columns of some documents, by `column_name`; a document has `FIELDS` as stored.

    Documents of one shape are read field by field; what comes of them is the same.
    """
    if len(set(map(type, documents))) == 1 and isinstance(documents[0], Struct):
        members = {field: list(map(attrgetter(field), documents)) for field in FIELDS}
    else:
        plain = list(map(plain_document, documents))
        members = {field: [document[field] for document in plain] for field in FIELDS}
    found: dict[str, bytes] = {}
    for field in FIELDS:
        for names, cells in _split((field,), members[field]):
            found[column_name(names)] = cells
    return found


def _split(names: Names, values: list[Any]) -> Iterator[tuple[Names, bytes]]:
    types = list(map(type, values))
    shape = next((kind for kind in set(types) if issubclass(kind, Struct)), None)
    if shape is not None:
        yield from _split_shaped(names, values, types, shape)
        return
    count = types.count(dict)
    if count * 2 <= len(values) or len(names) > MAX_DEPTH:
        yield names, encode_values(values, types)
        return
    odd = [] if count == len(values) else [i for i, kind in enumerate(types) if kind is not dict]
    objects = list(values)
    for place in odd:
        objects[place] = {}
    below = sorted(set().union(*objects))
    if len(below) > MAX_NAMES:
        yield names, encode_values(values, types)
        return
    values = [MISSING if one is UNSET else one for one in values]
    yield names, encode_cells(_shape(values, odd))
    for name in below:
        members = list(map(dict.get, objects, repeat(name), repeat(MISSING)))
        for place in odd:
            # Where no object is, what following the name there gives.
            members[place] = follow_step(values[place], name)
        yield from _split((*names, name), members)


def _split_shaped(
    names: Names, values: list[Any], types: list[type], shape: type[Struct]
) -> Iterator[tuple[Names, bytes]]:
    """`_split` of objects of one shape; UNSET stands where there is none."""
    count = types.count(shape)
    if count * 2 <= len(values) or len(names) > MAX_DEPTH:
        plain = [plain_document(one) if type(one) is shape else one for one in values]
        yield names, encode_values(plain, list(map(type, plain)))
        return
    odd, objects = list[int](), values
    if count < len(values):
        odd = [place for place, kind in enumerate(types) if kind is not shape]
        # Where no object is, none of its fields is either.
        objects = [one if type(one) is shape else shape() for one in values]
    yield names, encode_cells(_shape([MISSING] * len(values), odd))
    fields = zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True)
    for field, name in fields:
        members = list(map(attrgetter(field), objects))
        if members.count(UNSET) < len(members):
            yield from _split((*names, name), members)


def _shape(values: list[Any], odd: list[int]) -> Column:
    """Where the objects are, and what stands in the other places."""
    if not odd:
        return Column([OBJECT], np.zeros(len(values), dtype=np.int32))
    shown: list[Any] = [OBJECT] * len(values)
    for place in odd:
        shown[place] = values[place]
    return encode_column(shown)
