"""Places of fields: what the tables say of a path is decided once for all values at it. Pure.

Rule for editors: how a field is written and whether it shows may depend on path, value and redaction
alone, never on the device; what gives a name of the device away is shut afterwards (`quiet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, Final, NamedTuple

import msgspec

from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import encode_value
from fleetmdm.evidence.records.values import encode_text
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

MAX_HELD: Final = 1024
"""Places that are remembered at a time, and layouts, and for each place values that fit or do not."""

MAX_VALUE_BYTES: Final = 1024
"""Of a longer value it is not remembered whether it fits."""

_decode: Final = msgspec.json.Decoder().decode


class Part(NamedTuple):
    """Some fields of a record, side by side."""

    paths: tuple[str, ...]
    opens: tuple[bool, ...]
    values: tuple[bytes, ...]
    texts: tuple[str, ...]
    """What could give a name away if it shows, case-folded; empty where nothing can."""


NOTHING: Final = Part((), (), (), ())


def join_parts(parts: Iterable[Part]) -> Part:
    """All their fields."""
    whole = NOTHING
    for one in parts:
        whole = Part(*map(add, whole, one))
    return whole


def quiet(part: Part, names: Iterable[str]) -> tuple[bool, ...]:
    """What shows of a part, less what would give one of the names away."""
    # One look at all texts: nearly always nothing is found.
    shown = "\n".join(part.texts)
    found = [name for name in names if name in shown]
    if not found:
        return part.opens
    return tuple(
        [
            is_open and not any(name in text for name in found)
            for is_open, text in zip(part.opens, part.texts, strict=True)
        ]
    )


class Place:
    """One path of the facts, or of the fields beside them."""

    __slots__ = (
        *("_fitting", "_keys", "_kind", "_quiet", "_shape", "_tells"),
        *("guards", "is_checked", "is_named", "is_quiet", "mark", "path", "shows", "shows_mark"),
    )

    def __init__(
        self, path: str, keys: FleetKeys, redaction: Redaction, judged_as: str | None = None
    ) -> None:
        """`judged_as` is the fact whose openness a field has that is none itself."""
        treatment = redaction.classify(path if judged_as is None else judged_as)
        fact = judged_as is not None or path.startswith("facts")
        own = classify(path)
        strict = fact and redaction.profile is Profile.STRICT
        self.path = path
        self.shows = is_open(treatment, redaction.profile)
        self._shape = treatment.shape if strict else None
        self.is_checked = self.shows and self._shape is not None
        """Whether it depends on a value if it shows."""
        self.is_quiet = not self.shows or not fact or redaction.profile is Profile.NONE
        """Whether no value here can give a name away."""
        self._tells = path if judged_as is None else ""
        self.is_named = (
            judged_as is None and own.cls is Class.IDENTIFIER and own.kind not in UNNAMED_KINDS
        )
        """Whether pseudonyms stand beside values."""
        self._kind = own.kind
        self._keys = keys
        self.mark = f"pseudonym.{path}"
        self.shows_mark = is_pseudonym_open(treatment, redaction.profile)
        self.guards = own.kind in GUARDED_KINDS
        self._fitting: dict[bytes, bool] = {}

    def part(self, value: Any) -> Part:
        """The field with this value, and behind it the pseudonym that stands in for it."""
        shows = self.shows and fits(value, self._shape)
        text = "" if self.is_quiet or not shows else self.text(value)
        mark = self.pseudonym(value)
        if mark is None:
            return Part((self.path,), (shows,), (encode_value(value),), (text,))
        marks, written = (shows, self.shows_mark), (encode_value(value), mark)
        return Part((self.path, self.mark), marks, written, (text, ""))

    def text(self, value: Any) -> str:
        """What could give a name away if the value shows."""
        return leaking_text(self._tells, value)

    def fits(self, raw: bytes) -> bool:
        """Whether a value, in the bytes of msgspec, has the shape that was classified."""
        known = self._fitting.get(raw)
        if known is None:
            known = fits(_decode(raw), self._shape)
            if len(self._fitting) < MAX_HELD and len(raw) <= MAX_VALUE_BYTES:
                self._fitting[raw] = known
        return known

    def pseudonym(self, value: Any) -> bytes | None:
        """What stands for an identifier, or for each of a list, as it is written; None for none."""
        if not self.is_named or not value:
            return None
        if type(value) is str:
            return encode_text(self._keys.pseudonym(self._kind, value))
        mark = self._marks(value)
        return None if mark is None else encode_value(mark)

    def _marks(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._marks(member) for member in value]
        if isinstance(value, str) and value:
            return self._keys.pseudonym(self._kind, value)
        return None


class Layout:
    """The places of the leaves of all documents that differ in their values alone."""

    __slots__ = ("checked", "forms", "guards", "named", "places", "seen", "told")

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.named = [(at, place) for at, place in enumerate(places) if place.is_named]
        self.checked = [(at, place) for at, place in enumerate(places) if place.is_checked]
        self.guards = [at for at, place in enumerate(places) if place.guards]
        self.seen = [at for at, place in enumerate(places) if not place.is_quiet]
        """Leaves that could give a name away."""
        self.told = "\n".join([places[at].path for at in self.seen]).casefold()
        self.forms: dict[Any, Any] = {}
        """Of whoever makes records of such documents."""


class PlaceBook:
    """The places of one export."""

    def __init__(self, keys: FleetKeys, redaction: Redaction) -> None:
        self._keys = keys
        self.redaction = redaction
        self._places: dict[tuple[str, str | None], Place] = {}
        self.layouts: dict[bytes, Any] = {}
        """By all of a document that is no value; and what tells its names (`layout`)."""
        self.names: dict[bytes, Any] = {}

    def place(self, path: str, judged_as: str | None = None) -> Place:
        """The place of a path."""
        place = self._places.get((path, judged_as))
        if place is None:
            place = Place(path, self._keys, self.redaction, judged_as)
            if len(self._places) >= MAX_HELD:
                self._places.clear()
            self._places[path, judged_as] = place
        return place

    def parts(self, pairs: Iterable[tuple[str, Any]]) -> Part:
        """The fields with these values."""
        return join_parts([self.place(path).part(value) for path, value in pairs])
