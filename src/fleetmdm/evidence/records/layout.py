"""Stored documents taken apart to their leaves without being decoded. Pure.

Most documents of a fleet differ in their values alone. What stands between the values, names and
brackets, is looked at once: it tells the path of each leaf.
Rule for editors: what the pattern cannot take apart from end to end is decoded instead; both ways
give the same leaves, and a property test holds them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from fleetmdm.evidence.records.cells import CellBook, Place
from fleetmdm.evidence.records.flatten import flatten

KEYS: Final = ("device_id", "facts", "hostname", "os", "os_version", "serial", "tags")
"""Of every document, in this order; all but the facts are one leaf each."""

# Groups are repeated without "+" behind "*": Python 3.11 goes astray where such a one ends half-way.
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_ATOM = rb"(?:%b|[-0-9][-+.0-9eE]*+|true|false|null)" % _TEXT
_VALUE = rb"(?:%b|\[(?:%b(?:,%b)*)?\]|\{\})" % (_ATOM, _ATOM, _ATOM)
_LEAF = re.compile(
    rb'((?:[\]\[{},]*+%b:(?=\{"|\[[{\[]))*[\]\[{},]*+%b:)(%b)' % (_TEXT, _TEXT, _VALUE),
    re.DOTALL,
)
"""Brackets, commas and names, the last of which is that of a leaf, and the leaf's value."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def read_leaves(book: CellBook, document: bytes) -> tuple[Sequence[Place], Sequence[bytes]]:
    """Place and bytes of every leaf, in the order of the document, that `encode_facts` wrote."""
    found = _LEAF.findall(document)
    if found:
        between, values = zip(*found, strict=True)
        shape = b"\n".join(between)
        places = book.layouts.get(shape)
        # A match begins where the one before ended, or the lengths do not add up.
        if len(shape) - len(between) + 2 + len(b"".join(values)) == len(document):
            if places is not None:
                return places, values
            leaves = list(_leaves(document))
            if [raw for _, raw in leaves] == list(values):
                places = tuple([book.place(path) for path, _ in leaves])
                book.hold(book.layouts, shape, places)
                return places, values
    leaves = list(_leaves(document))
    return [book.place(path) for path, _ in leaves], [raw for _, raw in leaves]


def _leaves(document: bytes) -> Iterator[tuple[str, bytes]]:
    """The same by decoding: the path and the bytes of every leaf."""
    decoded: dict[str, Any] = _decode(document)
    for key in KEYS:
        for path, value in flatten(key, decoded[key]) if key == "facts" else [(key, decoded[key])]:
            yield path, _encode(value)
