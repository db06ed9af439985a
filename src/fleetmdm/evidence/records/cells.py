"""Cells of fields, found by path and value: what is the same on many devices is decided once. Pure.

Each place knows what the tables say of its path, and the cells of the values that it has seen, by
the bytes in which documents have them. Memory is bounded, whatever a fleet holds.
Rule for editors: a cell may depend on path, value and redaction alone, never on the device; and two
values share a cell only if they are written alike, so `true`, `1` and `1.0` never do.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Cell, begin_cell
from fleetmdm.evidence.records.values import carry, encode_carried, encode_text
from fleetmdm.evidence.redact import (
    GUARDED_KINDS,
    UNNAMED_KINDS,
    Class,
    Profile,
    Redaction,
    classify,
    fits,
    is_open,
    is_pseudonym_open,
    leaking_text,
)

MAX_VALUES: Final = 1024
"""Values of one place that are remembered: one with more has mostly values of their own."""

MAX_HELD: Final = 32_768
"""Values of all places together, and places: then all is forgotten."""

MAX_VALUE_BYTES: Final = 1024
"""A longer value is not remembered."""

SAFE_DIGITS: Final = 15
"""A whole number of so many digits is written by RFC 8785 as it is."""

_QUOTE: Final = ord('"')
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

Cells = tuple[Cell, ...]


class Place:
    """One path of the facts, or of the fields beside them."""

    __slots__ = (
        *("_begin", "_book", "_kind", "_mark", "_mark_begin", "_mark_name", "_name", "_quiet"),
        *("_shape", "_shows_mark", "_tells", "guards", "known", "path", "shows"),
    )

    def __init__(self, book: CellBook, path: str, *, judged_as: str | None = None) -> None:
        """`judged_as` is the fact whose openness a field has that is none itself."""
        redaction = book.redaction
        treatment = redaction.classify(path if judged_as is None else judged_as)
        fact = judged_as is not None or path.startswith("facts")
        self._book = book
        self.path = path
        self.shows = is_open(treatment, redaction.profile)
        strict = fact and redaction.profile is Profile.STRICT
        self._shape = treatment.shape if strict else None
        self._quiet = not fact or redaction.profile is Profile.NONE
        self._tells = path if judged_as is None else ""
        own = classify(path)
        named = judged_as is None and own.cls is Class.IDENTIFIER and own.kind not in UNNAMED_KINDS
        self._kind = own.kind if named else ""
        self._mark = f"pseudonym.{path}"
        self._shows_mark = is_pseudonym_open(treatment, redaction.profile)
        self.guards = own.kind in GUARDED_KINDS
        self._begin, self._name = begin_cell(path)
        self._mark_begin, self._mark_name = begin_cell(self._mark)
        self.known: dict[bytes, Cells] = {}

    def cells(self, value: Any) -> Cells:
        """The field with this value, and behind it the pseudonym that stands in for it."""
        kind = type(value)
        if kind is str or kind is bool or value is None or kind is int:
            try:
                raw = _encode(value)
            except (OverflowError, UnicodeEncodeError):
                return self._make(value)
            return self.known.get(raw) or self.learn(raw)
        return self._make(value)

    def learn(self, raw: bytes) -> Cells:
        """The same for a value that is not among the `known` ones, in the bytes of msgspec."""
        if raw[0] == _QUOTE:
            # RFC 8785 writes most texts as msgspec does; the others may be escaped in two ways.
            is_plain = b"\\" not in raw
        else:
            is_plain = raw.isdigit() and len(raw) <= SAFE_DIGITS
        cells = self._make(_decode(raw), raw if is_plain else None)
        if len(self.known) < MAX_VALUES and len(raw) <= MAX_VALUE_BYTES:
            self._book.hold(self.known, raw, cells)
        return cells

    def once(self, text: str) -> Cells:
        """The same for a text that hardly another record has."""
        return self._make(text, encode_text(text))

    def _make(self, value: Any, written: bytes | None = None) -> Cells:
        """`written` is its canonical form, if it is known."""
        shows = self.shows and (self._shape is None or fits(value, self._shape))
        if written is None:
            written = encode_carried(carry(value))
        text = "" if self._quiet or not shows else leaking_text(self._tells, value)
        end = written + b"]"
        cell = Cell(self.path, self._begin + end, self._name, b'",' + end, shows, text)
        if not self._kind or not value:
            return (cell,)
        mark = self._book.pseudonym(self._kind, value)
        if mark is None:
            return (cell,)
        end = (encode_text(mark) if type(mark) is str else encode_carried(mark)) + b"]"
        begin, name, shows = self._mark_begin, self._mark_name, self._shows_mark
        return cell, Cell(self._mark, begin + end, name, b'",' + end, shows)


class CellBook:
    """The cells of one export."""

    def __init__(self, keys: FleetKeys, redaction: Redaction) -> None:
        self.redaction = redaction
        self._keys = keys
        self._held = 0
        self._places: dict[tuple[str, str | None], Place] = {}
        self.layouts: dict[bytes, tuple[Place, ...]] = {}
        """The places of the leaves of a document, by all of it that is no value (`layout`)."""

    def place(self, path: str, judged_as: str | None = None) -> Place:
        """The place of a path."""
        place = self._places.get((path, judged_as))
        if place is None:
            place = Place(self, path, judged_as=judged_as)
            self.hold(self._places, (path, judged_as), place)
        return place

    def hold(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        """Remember something, within bounds."""
        if len(where) >= MAX_VALUES:
            return
        self._held += 1
        if self._held > MAX_HELD:
            # Places and what they hold go with their roots; those in use stay until they are left.
            self._places.clear()
            self.layouts.clear()
            self._held = 0
        where[key] = value

    def pseudonym(self, kind: str, value: Any) -> Any:
        """What stands for an identifier, or for each of a list; None where there is nothing."""
        if isinstance(value, list | tuple):
            return [self.pseudonym(kind, member) for member in value]
        if isinstance(value, str) and value:
            return self._keys.pseudonym(kind, value)
        return None
