"""How one column is written: distinct values and a code for each device, or a value for each. Pure.

MessagePack of [width, codes, values, absent]: `width` is the bytes of a code, 0 where the place of
a device is its code; `absent` names the places in `values` at which no value stands.
Rule for editors: a written column is read back with the exact type of every value.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from fleetmdm.evaluate.columns import Column, encode_column
from fleetmdm.evaluate.fact_path import MISSHAPEN, MISSING, NULL, Absent

OBJECT: Final = Absent("object")
"""Stands where an object was taken apart: its members have columns of their own."""

_ABSENT: Final[tuple[Absent, ...]] = (MISSING, OBJECT, MISSHAPEN)
"""By number. Null is a value that MessagePack has."""
_NUMBERS: Final = {absent: number for number, absent in enumerate(_ABSENT)}

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, bytes, list[Any], dict[int, int]]).decode


def encode_cells(column: Column) -> bytes:
    """The bytes of a column."""
    values: list[Any] = list(column.values)
    absent = {}
    for place, value in enumerate(values):
        if type(value) is Absent:
            values[place] = None
            if value is not NULL:
                absent[place] = _NUMBERS[value]
        elif type(value) is float:
            values[place] = value + 0.0
    if len(values) == len(column.codes):
        # Each device has a value of its own, and codes count as values come.
        return _encode((0, b"", values, absent))
    kind = np.uint8 if len(values) <= 1 << 8 else np.uint16 if len(values) <= 1 << 16 else np.int32
    codes = column.codes.astype(kind)
    return _encode((codes.itemsize, codes.tobytes(), values, absent))


_SINGLE: Final[set[type]] = {str, int, float, list, dict, Absent, UnsetType}
"""Kinds whose values can stand by themselves, each at its place."""
_ALIKE: Final[set[type]] = {bool, int, float}
"""Of which Python takes different values for equal."""
_NESTED: Final[set[type]] = {list, dict}
_KNOWN: Final = _SINGLE | _ALIKE | {type(None)}

_encode_nested: Final = msgspec.json.Encoder().encode


def encode_values(values: list[Any], types: list[type]) -> bytes:
    """What `encode_cells` writes of raw values of JSON of these types, in one pass.

    None is null; UNSET is missing.
    """
    kinds = set(types)
    alike = len(kinds & _ALIKE) > 1
    single = kinds <= _SINGLE
    if not kinds <= _KNOWN or (alike and not single):
        return _encode_any(values)
    keys, originals = _stand_ins(values, types) if kinds & _NESTED else (values, {})
    distinct = list(dict.fromkeys(keys))
    if single and len(distinct) > len(values) // 2:
        # Hardly any value comes twice: looking them up would gain nothing.
        return _encode((0, b"", *_plain(values, kinds)))
    if alike:
        return _encode_any(values)
    shown = [originals.get(key, key) for key in distinct] if originals else distinct
    return _write(distinct, shown, keys, kinds)


def _encode_any(values: list[Any]) -> bytes:
    return encode_cells(encode_column([MISSING if one is UNSET else one for one in values]))


def _stand_ins(values: list[Any], types: list[type]) -> tuple[list[Any], dict[Any, Any]]:
    """Values of which the nested are their JSON, in bytes; and the first one of each such."""
    keys, originals = values.copy(), dict[Any, Any]()
    for kind in _NESTED:
        place = -1
        for _ in range(types.count(kind)):
            place = types.index(kind, place + 1)
            key = keys[place] = _encode_nested(values[place])
            originals.setdefault(key, values[place])
    return keys, originals


def _write(keys: list[Any], distinct: list[Any], places: list[Any], kinds: set[type]) -> bytes:
    if len(keys) == len(places):
        return _encode((0, b"", *_plain(distinct, kinds)))
    numbers = dict(zip(keys, count())).__getitem__
    if len(keys) <= 1 << 8:
        return _encode((1, bytes(map(numbers, places)), *_plain(distinct, kinds)))
    kind = np.uint16 if len(keys) <= 1 << 16 else np.int32
    codes = np.fromiter(map(numbers, places), kind, len(places))
    return _encode((codes.itemsize, codes.tobytes(), *_plain(distinct, kinds)))


def _plain(values: list[Any], kinds: set[type]) -> tuple[list[Any], dict[int, int]]:
    """Values as MessagePack can have them, and where none stands."""
    absent = {}
    if Absent in kinds:
        # Null is a value that MessagePack has.
        places = [at for at, one in enumerate(values) if type(one) is Absent and one is not NULL]
        absent = {at: _NUMBERS[values[at]] for at in places}
        values = [None if type(one) is Absent else one for one in values]
    if UnsetType in kinds:
        absent |= {at: 0 for at, one in enumerate(values) if one is UNSET}
        values = [None if one is UNSET else one for one in values]
    if float in kinds:
        values = [value + 0.0 if type(value) is float else value for value in values]
    return values, absent


_KINDS: Final = {1: np.uint8, 2: np.uint16, 4: np.int32}


def decode_cells(data: bytes) -> Column:
    """What `encode_cells` wrote."""
    width, written, values, absent = _decode(data)
    if width == 0:
        return _decode_single(values, absent)
    if None in values:
        values = [NULL if value is None else value for value in values]
    for place, number in absent.items():
        values[place] = _ABSENT[number]
    codes = np.frombuffer(written, _KINDS[width])
    return Column(values, codes.astype(np.int32))


def _decode_single(values: list[Any], absent: dict[int, int]) -> Column:
    """A column in which each device has a place; those without a value share one code of each kind."""
    codes = np.arange(len(values), dtype=np.int32)
    kinds: dict[Absent, list[int]] = {}
    for place, value in enumerate(values) if None in values else ():
        if value is None:
            kind = _ABSENT[absent[place]] if place in absent else NULL
            kinds.setdefault(kind, []).append(place)
    # What is left behind at their places is never looked up; a value costs least to decide.
    filler = next((value for value in values if value is not None), NULL)
    for kind, places in kinds.items():
        codes[places] = places[0]
        for place in places:
            values[place] = filler
        values[places[0]] = kind
    return Column(values, codes)
