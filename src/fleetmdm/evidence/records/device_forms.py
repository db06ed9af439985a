"""The forms of the two records of a device: its place in the population, and its document. Pure.

Rule for editors: the form of a record must not depend on the redaction but for what shows in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from fleetmdm.evidence.records.commit import Form, RecordEncoder
from fleetmdm.evidence.records.places import Layout, PlaceBook
from fleetmdm.evidence.redact import identifiers_in

MAX_VARIANTS: Final = 16
"""Forms that are remembered of one layout."""

_FIRST: Final = ("device", "last_seen")
_LAST: Final = ("scope", "reason", "on_outside_list")

_decode: Final = msgspec.json.Decoder().decode


class _Variant(NamedTuple):
    """In what documents of one layout differ beside their values."""

    marked: tuple[bool, ...]
    """Whether there is a pseudonym for each value that can have one."""
    fitting: tuple[bool, ...]
    """Whether each value fits whose openness depends on it."""
    leaking: tuple[int, ...]
    """Leaves that give a name of the device away."""
    is_listed: bool
    """Whether the population says which devices are on an outside list."""


class DeviceForms:
    """Chooses the forms of devices."""

    def __init__(self, book: PlaceBook, encoder: RecordEncoder) -> None:
        self._place = book.place
        self._encoder = encoder

    def choose(
        self,
        layout: Layout,
        raw: Sequence[bytes],
        marks: Sequence[bytes | None],
        *,
        is_listed: bool,
    ) -> tuple[Form, Form]:
        """Of the population, and of the inventory.

        Paths of both begin with `device` and `last_seen`; then come leaves in the order of the
        document, in the population the five that are no facts; then pseudonyms; and in the
        population what it says of scope.
        """
        marked = tuple([mark is not None for mark in marks])
        fitting = tuple([place.fits(raw[at]) for at, place in layout.checked])
        variant = _Variant(marked, fitting, _leaking(layout, raw), is_listed)
        forms: tuple[Form, Form] | None = layout.forms.get(variant)
        if forms is None:
            if len(layout.forms) >= MAX_VARIANTS:
                layout.forms.clear()
            forms = layout.forms[variant] = self._make(layout, variant)
        return forms

    def _make(self, layout: Layout, variant: _Variant) -> tuple[Form, Form]:
        place = self._place
        fitting = zip(layout.checked, variant.fitting, strict=True)
        shut = {at for (at, _), fits in fitting if not fits}.union(variant.leaking)
        leaves = [(one.path, one.shows and at not in shut) for at, one in enumerate(layout.places)]
        marked = zip(layout.named, variant.marked, strict=True)
        marks = [(one.mark, one.shows_mark) if is_there else None for (_, one), is_there in marked]
        first = [(path, place(path).shows) for path in _FIRST]
        last = [(path, place(path).shows) for path in _LAST[: 3 if variant.is_listed else 2]]
        who = [*first, leaves[0], *leaves[-5:-1], *filter(None, marks[-2:]), *last]
        what = [*first, *leaves, *filter(None, marks)]
        return self._encoder.form(*zip(*who, strict=True)), Form(*zip(*what, strict=True))


def _leaking(layout: Layout, raw: Sequence[bytes]) -> tuple[int, ...]:
    """Which leaves that would show give a name of their device away."""
    if not layout.seen:
        return ()
    names: Iterable[str] = identifiers_in(_decode(raw[at]) for at in layout.guards)
    # One look at all texts: nearly always nothing is found.
    shown = b"\n".join([raw[at] for at in layout.seen])
    if b"\\" not in shown:
        text = layout.told + shown.decode().casefold()
        names = [name for name in names if name in text]
    if not names:
        return ()
    texts = [(at, layout.places[at].text(_decode(raw[at]))) for at in layout.seen]
    return tuple([at for at, text in texts if any(name in text for name in names)])
