"""Cells of facts, found by path and value: what is the same on many devices is decided once. Pure.

A tree of places follows the names of the facts. Each place knows what the tables say of its path,
and the cells of the values that it has seen. Memory is bounded, whatever a fleet holds.
Rule for editors: a cell may depend on path, value and redaction alone, never on the device; and two
values share a cell only if they are written alike, so `True`, `1` and `1.0` never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Cell, make_cell
from fleetmdm.evidence.records.flatten import flatten, render_name
from fleetmdm.evidence.records.values import carry, encode_carried, encode_text
from fleetmdm.evidence.redact import (
    GUARDED_KINDS,
    UNNAMED_KINDS,
    Class,
    Profile,
    Redaction,
    classify,
    fits,
    identifiers_in,
    is_open,
    is_pseudonym_open,
    leaking_text,
)

MAX_VALUES: Final = 1024
"""Values of one place that are remembered: one with more has mostly values of their own."""

MAX_HELD: Final = 32_768
"""Values of all places together, and places: then all is forgotten."""

_encode: Final = msgspec.json.Encoder().encode

Cells = tuple[Cell, ...]


class Place:
    """One path of the facts, or of the fields beside them."""

    __slots__ = (
        *("_begin", "_book", "_kind", "_name", "_shape", "_shows_mark", "_tells", "_text"),
        *("below", "guards", "known", "path", "shows"),
    )

    def __init__(self, book: CellBook, path: str, *, judged_as: str | None = None) -> None:
        """`judged_as` is the fact whose openness a field has that is none itself."""
        redaction = book.redaction
        treatment = redaction.classify(path if judged_as is None else judged_as)
        fact = judged_as is not None or path.startswith("facts")
        self._book = book
        self.path = path
        self.below: dict[str, Place] = {}
        self.shows = is_open(treatment, redaction.profile)
        strict = fact and redaction.profile is Profile.STRICT
        self._shape = treatment.shape if strict else None
        self._text = fact and redaction.profile is not Profile.NONE
        self._tells = path if judged_as is None else ""
        own = classify(path)
        named = judged_as is None and own.cls is Class.IDENTIFIER and own.kind not in UNNAMED_KINDS
        self._kind = own.kind if named else ""
        self._shows_mark = is_pseudonym_open(treatment, redaction.profile)
        self.guards = own.kind in GUARDED_KINDS
        name = encode_text(path)
        self._begin, self._name = b'",' + name + b",", name + b':["'
        self.known: dict[Any, Cells] = {}

    def cells(self, value: Any) -> Cells:
        """The field with this value, and behind it the pseudonym that stands in for it."""
        kind = type(value)
        if kind is str or value is None or kind is bool:
            key = value
        elif kind is int:
            key = (value,)
        else:
            key = _key(value)
            if key is None:
                return self._make(value)
        cells = self.known.get(key)
        if cells is None:
            cells = self._make(value)
            self._book.hold(self.known, key, cells)
        return cells

    def _make(self, value: Any) -> Cells:
        shows = self.shows and (self._shape is None or fits(value, self._shape))
        text = leaking_text(self._tells, value) if shows and self._text else ""
        written = encode_text(value) if type(value) is str else encode_carried(carry(value))
        cell = Cell(
            *(self.path, self._begin + written + b"]", self._name, b'",' + written + b"]"),
            *(shows, text),
        )
        mark = self._book.pseudonym(self._kind, value) if self._kind else None
        if mark is None:
            return (cell,)
        return cell, make_cell(f"pseudonym.{self.path}", mark, is_open=self._shows_mark)


def _key(value: Any) -> bytes | None:
    """Equal for values that are written alike; None for one that cannot be told so."""
    try:
        return _encode(value)
    except (OverflowError, TypeError, ValueError, msgspec.MsgspecError):
        return None


class CellBook:
    """The cells of one export."""

    def __init__(self, keys: FleetKeys, redaction: Redaction) -> None:
        self.redaction = redaction
        self._keys = keys
        self._held = 0
        self._places: dict[tuple[str, str | None], Place] = {}

    def place(self, path: str, judged_as: str | None = None) -> Place:
        """The place of a path."""
        place = self._places.get((path, judged_as))
        if place is None:
            place = Place(self, path, judged_as=judged_as)
            self.hold(self._places, (path, judged_as), place)
        return place

    def facts(self, facts: Mapping[str, Any], names: set[str]) -> list[Cell]:
        """A cell for every leaf of the facts; the device's own names among them go to `names`."""
        found: list[Cell] = []
        if facts:
            self._walk(self.place("facts"), facts, found, names)
        else:
            found += self.place("facts").cells({})
        return found

    def _walk(
        self, place: Place, facts: Mapping[str, Any], found: list[Cell], names: set[str]
    ) -> None:
        below = place.below
        for name, value in facts.items():
            at = below.get(name) or self._below(place, name)
            kind = type(value)
            if kind is dict and value:
                self._walk(at, value, found, names)
                continue
            if kind is str or kind is bool or kind is int:
                # The way that nearly all facts go.
                found += (at.known.get(value) if kind is str else None) or at.cells(value)
                if at.guards:
                    names |= identifiers_in(iter((value,)))
                continue
            for path, leaf in flatten(at.path, value):
                self._take(at if path == at.path else self.place(path), leaf, found, names)

    def _take(self, at: Place, value: Any, found: list[Cell], names: set[str]) -> None:
        found += at.cells(value)
        if at.guards:
            names |= identifiers_in(iter((value,)))

    def _below(self, place: Place, name: str) -> Place:
        at = Place(self, f"{place.path}.{render_name(name)}")
        self.hold(place.below, name, at)
        return at

    def hold(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        """Remember something, within bounds."""
        if len(where) >= MAX_VALUES:
            return
        self._held += 1
        if self._held > MAX_HELD:
            # Places and what they hold go with their roots; those in use stay until they are left.
            self._places.clear()
            self._held = 0
        where[key] = value

    def pseudonym(self, kind: str, value: Any) -> Any:
        """What stands for an identifier, or for each of a list; None where there is nothing."""
        if isinstance(value, list | tuple):
            return [self.pseudonym(kind, member) for member in value]
        if isinstance(value, str) and value:
            return self._keys.pseudonym(kind, value)
        return None
