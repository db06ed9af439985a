"""Decoding documents whose objects have the same names again and again. Pure.

A shape is learned from documents that were read: for each object that has few names, a class with a
field for each. Decoding into fields takes a third of what dictionaries take, and what stands at one
name of many documents is read from them side by side.
Rule for editors: a shape takes nothing that `decode_sound` would not, and what `plain_document` makes
of a shaped one is what `decode_sound` would have given; in doubt it refuses, and the plain way is
taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct

from fleetmdm.device.values import SOUND_DEPTH, DeviceLimits, exceeds_values, sound_value

MAX_NAMES: Final = 64
"""Objects with more names than this, together, are no shape: such as packages by name."""
MAX_FIELDS: Final = 2048
"""Of a whole shape: each costs some bytes in every document."""
MAX_DEPTH: Final = 5
"""Objects one within the other that are followed, `facts` the first."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.:/@ +-]+", re.ASCII)
"""Names of fields: those that JSON writes as they are."""

Outline = Mapping[str, "Outline | None"]
"""The names of an object; None stands at one whose value is kept as it is."""


class ShapedDocument(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A device document; `facts` is an object whose members are fields too, UNSET where missing."""

    device_id: str
    hostname: str
    last_seen: str | UnsetType
    os: str
    os_version: str
    serial: str | None = None
    tags: list[Any] = []
    facts: Any = None


def learn_outline(
    objects: Sequence[Mapping[str, Any]], known: Outline | None = None, depth: int = 1
) -> Outline | None:
    """The names below some objects, added to those that were `known`; None for too many."""
    names = set(known or ()).union(*objects)
    if len(names) > MAX_NAMES or depth > MAX_DEPTH or not all(map(_NAME.fullmatch, names)):
        return None
    outline: dict[str, Outline | None] = {}
    for name in sorted(names):
        values = [one[name] for one in objects if name in one]
        before = known.get(name, {}) if known else {}
        is_object = before is not None and all(type(value) is dict for value in values)
        outline[name] = learn_outline(values, before, depth + 1) if is_object else None
    return outline


def count_fields(outline: Outline) -> int:
    """How many names there are on all levels."""
    return len(outline) + sum(count_fields(one) for one in outline.values() if one)


class ShapedDecoder:
    """Decodes documents of one outline, under some limits."""

    def __init__(self, facts: Outline, limits: DeviceLimits) -> None:
        self._limits = limits
        depth = min(SOUND_DEPTH, limits.max_depth)
        kind = _object_type(facts, limits, depth - 1)
        document = defstruct(
            "Document",
            [("facts", kind, msgspec.field(default_factory=kind))],
            bases=(ShapedDocument,),
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(cast("type[ShapedDocument]", document)).decode

    def decode(self, data: bytes) -> ShapedDocument | None:
        """The document; None where it is of another shape, or beyond a limit."""
        if exceeds_values(data, self._limits):
            return None
        try:
            return self._decode(data)
        except (ValueError, RecursionError):
            return None


def _object_type(outline: Outline, limits: DeviceLimits, depth: int) -> type[Struct]:
    """The class of objects whose values have `depth` levels below them."""
    fields: list[tuple[str, Any, Any]] = []
    names = {}
    for number, (name, below) in enumerate(outline.items()):
        value = sound_value(limits, depth)
        kind = value if below is None else _object_type(below, limits, depth - 1)
        fields.append((f"f{number}", kind | UnsetType, UNSET))
        names[f"f{number}"] = name
    return defstruct(
        "Object", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False
    )


def plain_document(document: Mapping[str, Any] | Struct) -> Mapping[str, Any]:
    """The same document as objects of names and values."""
    if isinstance(document, Struct):
        plain: dict[str, Any] = msgspec.to_builtins(document)
        return plain
    return document
