"""Answering fact paths from the columns of a table. Pure.

What lies below a column's values, or in every element of them, is followed once per distinct value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.columns import Column, FactColumns, encode_column
from fleetmdm.evaluate.fact_path import (
    MISSHAPEN,
    MISSING,
    NULL,
    Absent,
    FactPath,
    Step,
    expand,
    follow_step,
)
from fleetmdm.evaluate.table.build import FIELDS, column_name
from fleetmdm.evaluate.table.cells import OBJECT, decode_cells


class FactTable:
    """The columns of one block; each is decoded when it is first asked for."""

    def __init__(
        self,
        size: int,
        written: Mapping[str, bytes],
        places: npt.NDArray[np.intp] | None = None,
    ) -> None:
        """`places` are the devices that count, ascending; None is all. `size` is how many."""
        self.size = size
        self._places = places
        self._written = written
        self._known: dict[str, Column | None] = {}

    def read(
        self, paths: Iterable[FactPath], device_ids: Sequence[str], last_seen: Sequence[str]
    ) -> FactColumns:
        """Every column that policies with these paths need."""
        own = {"device_id": device_ids, "last_seen": last_seen}
        by_path = {}
        for path in paths:
            first = path.steps[0]
            if isinstance(first, str) and first in own:
                by_path[path.text] = _beyond(encode_column(own[first]), path, 1)
            else:
                by_path[path.text] = self._follow(path)
        return FactColumns(by_path, self._whole(("os",)), self._whole(("tags",)))

    def documents(self) -> Iterator[dict[str, Any]]:
        """The documents again, without ids, as they were taken apart."""
        columns = {field: self._whole((field,)) for field in FIELDS}
        for place in range(self.size):
            values = {name: each.values[each.codes[place]] for name, each in columns.items()}
            yield {name: None if value is NULL else value for name, value in values.items()}

    def _follow(self, path: FactPath) -> Column:
        steps = path.steps
        names: tuple[str, ...] = () if steps[0] in FIELDS else ("facts",)
        column = self._column(names) if names else None
        for place, step in enumerate(steps):
            below = self._column((*names, step)) if isinstance(step, str) else None
            if below is None:
                # No device has the name, or the column's values lead on.
                assert column is not None  # noqa: S101 - every table has `FIELDS`
                return _beyond(column, path, place)
            names, column = (*names, str(step)), below
        return self._whole(names)

    def _column(self, names: tuple[str, ...]) -> Column | None:
        name = column_name(names)
        if name not in self._known:
            data = self._written.get(name)
            column = None if data is None else decode_cells(data)
            if column is not None and self._places is not None:
                column = Column(column.values, column.codes[self._places])
            self._known[name] = column
        return self._known[name]

    def _whole(self, names: tuple[str, ...]) -> Column:
        """A column in which objects that were taken apart are put together again."""
        column = self._column(names)
        if column is None:
            return Column([MISSING], np.zeros(self.size, dtype=np.int32))
        if OBJECT not in column.values:
            return column
        places = np.flatnonzero(column.codes == column.values.index(OBJECT))
        objects = self._objects(names, places)
        known = dict(zip(map(repr, objects), objects, strict=True))
        numbers = {text: len(column.values) + at for at, text in enumerate(known)}
        codes = column.codes.copy()
        codes[places] = [numbers[repr(one)] for one in objects]
        return Column([*column.values, *known.values()], codes)

    def _objects(self, names: tuple[str, ...], places: npt.NDArray[np.intp]) -> list[Any]:
        """The objects of the devices at some places, which all have one."""
        objects: list[dict[str, Any]] = [{} for _ in range(len(places))]
        for name in self._names_below(names):
            column = self._whole((*names, name))
            for value, one in zip(column.codes[places].tolist(), objects, strict=True):
                member = column.values[value]
                if member is not MISSING:
                    one[name] = None if member is NULL else member
        return objects

    def _names_below(self, names: tuple[str, ...]) -> list[str]:
        begin = column_name(names)[:-1] + ","
        found = []
        for name in self._written:
            if name.startswith(begin):
                steps = _parse_name(name)
                if len(steps) == len(names) + 1:
                    found.append(steps[-1])
        return sorted(found)


def _parse_name(name: str) -> list[str]:
    return msgspec.json.decode(name, type=list[str])


def _beyond(column: Column, path: FactPath, place: int) -> Column:
    """What stands at the end of a path whose first `place` steps lead to the column."""
    if place == len(path.steps):
        return column
    values = [_end(value, path, place) for value in column.values]
    return Column(values, column.codes)


def _end(value: Any, path: FactPath, place: int) -> Any:
    each = path.first_each
    for step in path.steps[place:each]:
        value = _step(value, step)
    if each < len(path.steps):
        return (
            MISSHAPEN
            if value is OBJECT
            else expand(value, path.steps[each + 1 :], path.steps[:each])
        )
    return NULL if value is None else value


def _step(value: Any, step: Step) -> Any:
    if value is OBJECT:
        # Its names have columns: another one is missing, and an index leads nowhere in it.
        return MISSING if isinstance(step, str) else follow_step({}, step)
    if isinstance(value, Absent):
        return value
    return follow_step(value, step)
