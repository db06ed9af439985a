"""Columns of facts: each distinct path is followed once per batch, each distinct value kept once.

A column is a list of distinct values (or `Absent`, or `Elements`) and an int32 code per device.
Rule for editors: two values share a code only where no operator can tell them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.device import Device
from fleetmdm.evaluate.fact_path import (
    DOCUMENT_FIELDS,
    MISSING,
    NULL,
    Each,
    Elements,
    FactPath,
    Step,
    expand,
    follow_step,
)

_ALIKE: Final = frozenset({bool, int, float})
"""Types of which Python takes different values for equal (True == 1 == 1.0)."""
_TEXTS: Final = {str}
_NESTED: Final = frozenset({list, tuple, dict, Elements})


@dataclass(frozen=True, slots=True)
class Column:
    """One fact of every device of a batch."""

    values: Sequence[Any]
    codes: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class FactColumns:
    """Every column of one batch."""

    by_path: dict[str, Column]
    os: Column
    tags: Column
    """Of sequences of text."""


def extract_columns(batch: Sequence[Device], paths: Iterable[FactPath]) -> dict[str, Column]:
    """A column for each path, by the path's text; shared beginnings are followed once."""
    reader = _Reader(batch)
    return {path.text: encode_column(reader.read(path)) for path in paths}


class _Reader:
    """Follows paths over a batch, and remembers what stands at every step on the way."""

    def __init__(self, batch: Sequence[Device]) -> None:
        self._batch = batch
        self._known: dict[tuple[Step, ...], list[Any]] = {}

    def read(self, path: FactPath) -> list[Any]:
        """What stands at the end of the path, per device."""
        steps = path.steps
        place = next((i for i, step in enumerate(steps) if isinstance(step, Each)), len(steps))
        values = self._at(steps[:place])
        if place == len(steps):
            return values
        done, rest = (*steps[:place],), steps[place + 1 :]
        return [expand(value, rest, done) for value in values]

    def _at(self, steps: tuple[Step, ...]) -> list[Any]:
        values = self._known.get(steps)
        if values is None:
            values = self._first(steps[0]) if len(steps) == 1 else self._next(steps)
            self._known[steps] = values
        return values

    def _first(self, step: Step) -> list[Any]:
        if isinstance(step, str) and step in DOCUMENT_FIELDS:
            return [DOCUMENT_FIELDS[step](device) for device in self._batch]
        return _step_all([device.facts for device in self._batch], step)

    def _next(self, steps: tuple[Step, ...]) -> list[Any]:
        return _step_all(self._at(steps[:-1]), steps[-1])


def _step_all(values: list[Any], step: Step) -> list[Any]:
    if isinstance(step, str):
        return [
            value.get(step, MISSING) if type(value) is dict else follow_step(value, step)
            for value in values
        ]
    return [follow_step(value, step) for value in values]


def encode_column(values: Sequence[Any]) -> Column:
    """Dictionary-encode raw values; None becomes the absent value `NULL`."""
    types = set(map(type, values))
    odd = _odd_types(values, types) if types & _NESTED or len(types & _ALIKE) > 1 else ()
    keys, originals = _replace_odd(values, odd) if odd else (values, {})
    codes = dict(zip(dict.fromkeys(keys), count()))
    array = np.fromiter(map(codes.__getitem__, keys), np.int32, len(values))
    distinct = [originals.get(key, key) for key in codes] if odd else list(codes)
    if type(None) in types:
        distinct = [NULL if value is None else value for value in distinct]
    if float in types:
        # No operator tells 0.0 from -0.0, so a finding must not either: it would change by batch.
        distinct = [value + 0.0 if type(value) is float else value for value in distinct]
    return Column(distinct, array)


def _odd_types(values: Sequence[Any], types: set[type]) -> set[type]:
    """The types whose values need a key of their own: the nested, and all but one of the alike."""
    alike = types & _ALIKE
    common = set()
    if len(alike) > 1:
        counts = Counter(map(type, values))
        common = {max(alike, key=counts.__getitem__)}
    return (types & _NESTED) | ((alike - common) if common else set())


def _replace_odd(values: Sequence[Any], odd: Collection[type]) -> tuple[list[Any], dict[Any, Any]]:
    """Keys to tell the values apart by, and the first value of each key that is not its own."""
    keys, originals = list(values), dict[Any, Any]()
    types = list(map(type, values))
    for kind in odd:
        place = -1
        for _ in range(types.count(kind)):
            place = types.index(kind, place + 1)
            key = keys[place] = _key(values[place])
            originals.setdefault(key, values[place])
    return keys, originals


def _key(value: Any) -> Any:
    """Hashable, and different wherever kind or content differ."""
    kind = type(value)
    if kind is list:
        return _key_of_list(value)
    if kind is str or (kind is tuple and set(map(type, value)) <= _TEXTS):
        return value
    if kind is Elements:
        return (Elements, tuple((where, _key(found)) for where, found in value.items))
    if isinstance(value, Mapping | list | tuple):
        return (kind, repr(value))
    return (kind, repr(value) if kind is float else value)


def _key_of_list(value: list[Any]) -> Any:
    """Shorter to make where all members are texts, as they mostly are."""
    return (*value, list) if set(map(type, value)) == _TEXTS else (list, repr(value))
