"""Columns of facts: each distinct path is followed once per batch, each distinct value kept once.

A column is a list of distinct values (or `Absent`, or `Elements`) and an int32 code per device.
Rule for editors: two values share a code only where no operator can tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
_NESTED: Final = frozenset({list, tuple, dict, Elements})


@dataclass(frozen=True, slots=True)
class Column:
    """One fact of every device of a batch."""

    values: Sequence[Any]
    codes: npt.NDArray[np.int32]


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
    keys = values
    if len(types & _ALIKE) > 1 or types & _NESTED:
        keys = [_key(value) for value in values]
    codes = _Codes()
    array = np.fromiter(map(codes.__getitem__, keys), np.int32, len(values))
    firsts = list(codes) if keys is values else _first_of_each(values, array, len(codes))
    return Column([NULL if value is None else value for value in firsts], array)


class _Codes(dict[Any, int]):
    """Gives every new key the next number."""

    def __missing__(self, key: Any) -> int:
        code = len(self)
        self[key] = code
        return code


def _first_of_each(values: Sequence[Any], codes: npt.NDArray[np.int32], size: int) -> list[Any]:
    _, places = np.unique(codes, return_index=True)
    assert len(places) == size  # noqa: S101 - every code was given to some value
    return [values[place] for place in places.tolist()]


def _key(value: Any) -> Any:
    """Hashable, and different wherever kind or content differ."""
    kind = type(value)
    if kind is str:
        return value
    if kind is Elements:
        return (Elements, tuple((where, _key(found)) for where, found in value.items))
    if isinstance(value, Mapping | list | tuple):
        return (kind, repr(value))
    return (kind, value)
