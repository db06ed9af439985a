"""Columns straight from stored documents: of each, only what the policies ask for is decoded.

The paths of all policies make one tree of struct types; msgspec passes over what is in none of
them. Rule for editors: the columns are those that `extract_columns` makes from decoded devices; a
fact of an unexpected shape is a value here too, never an error of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec

from fleetmdm.device import DocumentBatch
from fleetmdm.evaluate.columns import FactColumns, encode_column
from fleetmdm.evaluate.fact_path import MISSING, FactPath, Step, expand, follow_step

_OWN_FIELDS: Final = frozenset({"hostname", "os", "os_version", "serial"})
"""Fields of the document that are text and lead no further."""

_OTHER_SHAPES: Final = None | bool | int | float | str | list[Any]
"""What may stand where an object should."""


@dataclass(slots=True)
class _Place:
    """One name of the tree of paths."""

    below: dict[str, _Place] = field(default_factory=dict)
    ends: bool = False
    """Somebody wants the value itself, or steps into a list."""
    kind: type | None = None
    """The struct that holds `below`; None where the value is decoded whole."""


class Projection:
    """Reads the facts at some paths; made once, used for many batches."""

    def __init__(self, paths: Iterable[FactPath]) -> None:
        self._paths = tuple(paths)
        self._facts = _Place()
        names = {"os"}
        for path in self._paths:
            steps = _below_facts(path)
            if steps is not None:
                self._plant(steps)
            elif path.steps[0] in _OWN_FIELDS:
                names.add(str(path.steps[0]))
        fields: list[tuple[str, Any, Any]] = [(name, Any, None) for name in sorted(names)]
        fields += [("tags", tuple[str, ...], ()), ("facts", _shape(self._facts), None)]
        kind = msgspec.defstruct("Document", fields, gc=False)
        self._decode = msgspec.json.Decoder(kind).decode

    def _plant(self, steps: Sequence[Step]) -> None:
        place = self._facts
        for step in steps:
            if not isinstance(step, str):
                break
            place = place.below.setdefault(step, _Place())
        place.ends = True

    def read(self, batch: DocumentBatch) -> FactColumns:
        """The columns of a batch."""
        rows = _Rows(batch, list(map(self._decode, batch.facts)), self._facts)
        return FactColumns(
            {path.text: encode_column(rows.follow(path)) for path in self._paths},
            encode_column(rows.own("os")),
            encode_column(rows.own("tags")),
        )


def _below_facts(path: FactPath) -> tuple[Step, ...] | None:
    """The steps from `facts` on; None where the path is about the document itself."""
    first = path.steps[0]
    if first == "facts":
        return path.steps[1:]
    if first in _OWN_FIELDS or first in ("device_id", "last_seen", "tags"):
        return None
    return path.steps


def _shape(place: _Place) -> Any:
    """The type to decode a place as; notes the struct in the tree."""
    if place.ends or not place.below:
        return Any
    # A missing object stands for itself with everything missing: what is below is missing alike.
    fields = [
        (f"f{number}", _shape(child), MISSING if child.kind is None else child.kind())
        for number, child in enumerate(place.below.values())
    ]
    names = {f"f{number}": name for number, name in enumerate(place.below)}
    kind = place.kind = msgspec.defstruct("Facts", fields, gc=False, frozen=True, rename=names)
    return kind | _OTHER_SHAPES


class _Rows:
    """The decoded documents of a batch; what stands at a place is looked up once."""

    def __init__(self, batch: DocumentBatch, documents: list[Any], facts: _Place) -> None:
        self._batch = batch
        self._documents = documents
        self._facts = facts
        self._known: dict[tuple[Step, ...], list[Any]] = {}

    def own(self, name: str) -> list[Any]:
        """A field of the document itself."""
        if name == "device_id":
            return list(self._batch.device_ids)
        if name == "last_seen":
            return list(self._batch.last_seen)
        return list(map(attrgetter(name), self._documents))

    def follow(self, path: FactPath) -> list[Any]:
        """What stands at the end of a path, per device."""
        place = path.first_each
        if _below_facts(path) is None:
            values = self.own(str(path.steps[0]))
            if path.steps[0] == "tags":
                values = list(map(list, values))
            for step in path.steps[1:place]:
                values = [follow_step(value, step) for value in values]
        else:
            skipped = len(path.steps) - len(_below_facts(path) or ())
            values = self._at(path.steps[skipped:place])
        if place == len(path.steps):
            return values
        done, rest = path.steps[:place], path.steps[place + 1 :]
        return [expand(value, rest, done) for value in values]

    def _at(self, steps: tuple[Step, ...]) -> list[Any]:
        known = self._known.get(steps)
        if known is None:
            known = self._known[steps] = list(self._look(steps))
        return known

    def _look(self, steps: tuple[Step, ...]) -> Iterable[Any]:
        if not steps:
            return self.own("facts")
        above, step = self._at(steps[:-1]), steps[-1]
        place = self._place(steps[:-1])
        if place is None or place.kind is None:
            return _step_all(above, step)
        name = f"f{list(place.below).index(str(step))}"
        if set(map(type, above)) <= {place.kind}:
            return map(attrgetter(name), above)
        # Those of another shape are rare: they are led around the quick way.
        odd = [at for at, value in enumerate(above) if type(value) is not place.kind]
        regular = list(above)
        for at in odd:
            regular[at] = place.kind()
        found = list(map(attrgetter(name), regular))
        for at in odd:
            found[at] = follow_step(above[at], step)
        return found

    def _place(self, steps: tuple[Step, ...]) -> _Place | None:
        """The place of a path in the tree; None behind the first index."""
        place: _Place | None = self._facts
        for step in steps:
            place = place.below.get(step) if place and isinstance(step, str) else None
        return place


def _step_all(values: list[Any], step: Step) -> Iterator[Any]:
    for value in values:
        if type(value) is dict and isinstance(step, str):
            yield value.get(step, MISSING)
        else:
            yield follow_step(value, step)
