"""The quick way in for a document of which everything is as it mostly is. Pure.

Rule for editors: what this answers is exactly what `parse_device` and `encode_facts` would give; in
doubt it answers None, and the slow way says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from fleetmdm.device.document import OPTIONAL, REQUIRED, are_plain, parse_tag_list
from fleetmdm.device.encoding import encode_document
from fleetmdm.device.shapes import (
    MAX_FIELDS,
    Outline,
    ShapedDecoder,
    ShapedDocument,
    count_fields,
    learn_outline,
)
from fleetmdm.device.values import DeviceLimits, ValueFault, decode_sound
from fleetmdm.rfc3339 import encode_time

_REQUIRED: Final = frozenset(REQUIRED)
_KNOWN: Final = frozenset(REQUIRED + OPTIONAL)
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z", re.ASCII
)
_TEXTS: Final = ("device_id", "hostname", "os", "os_version")

MAX_LESSONS: Final = 8
"""Where documents looked otherwise so often, and mostly, nothing is learned from them any more."""
MAX_TAG_LISTS: Final = 1024
"""Lists of tags that are remembered as they were parsed."""


class QuickDocument(NamedTuple):
    """A document that can be kept as it is."""

    device_id: str
    serial: str | None
    last_seen: str
    """RFC 3339 in UTC, as `encode_time` writes it."""
    facts: bytes
    """What `encode_facts` writes."""
    document: Mapping[str, Any] | ShapedDocument
    """What `facts` says."""


class QuickReader:
    """Reads documents at one moment, under some limits."""

    def __init__(self, now: datetime, limits: DeviceLimits) -> None:
        self._limits = limits
        latest = now + timedelta(seconds=limits.max_clock_skew_s)
        # Times of one form sort as text does; one second less is decided quickly.
        self._before = encode_time(latest.replace(microsecond=0))[:19]
        self._tags: dict[tuple[Any, ...], list[str]] = {}
        self._outline: Outline | None = {}
        self._shaped: ShapedDecoder | None = None
        self._rounds = self._lessons = 0

    def read(self, data: bytes) -> QuickDocument | None:
        """The document, or None where this cannot tell."""
        if self._shaped is not None:
            shaped = self._shaped.decode(data)
            if shaped is not None:
                return self._keep_shaped(shaped)
        return self._read_plain(data)

    def _keep_shaped(self, document: ShapedDocument) -> QuickDocument | None:
        device_id, serial, last_seen = document.device_id, document.serial, document.last_seen
        texts = (device_id, document.hostname, document.os, document.os_version)
        if not are_plain(texts, serial, self._limits) or not self._is_moment(last_seen):
            return None
        tags = self._parse_tags(document.tags)
        if tags is None:
            return None
        document.tags = tags
        document.last_seen = UNSET
        return QuickDocument(device_id, serial, str(last_seen), encode_document(document), document)

    def _read_plain(self, data: bytes) -> QuickDocument | None:
        document = decode_sound(data, self._limits)
        if document is None or not _REQUIRED <= document.keys() <= _KNOWN:
            return None
        serial = document.setdefault("serial", None)
        texts = tuple(map(document.__getitem__, _TEXTS))
        if not are_plain(texts, serial, self._limits):
            return None
        last_seen = document.pop("last_seen")
        if not self._is_moment(last_seen):
            return None
        if type(document.setdefault("facts", {})) is not dict:
            return None
        tags = self._parse_tags(document.get("tags", []))
        if tags is None:
            return None
        document["tags"] = tags
        facts = encode_document(document)
        return QuickDocument(document["device_id"], serial, last_seen, facts, document)

    def learn(self, documents: Sequence[QuickDocument]) -> None:
        """Learn from what was read last how documents look that were not read as they look."""
        self._rounds += 1
        new = [one.document["facts"] for one in documents if isinstance(one.document, Mapping)]
        if not new or self._outline is None:
            return
        self._lessons += 1
        self._outline = learn_outline(new, self._outline)
        if self._lessons > MAX_LESSONS and self._lessons * 2 > self._rounds:
            self._outline = None
        if self._outline is None or count_fields(self._outline) > MAX_FIELDS:
            self._outline = self._shaped = None
        else:
            self._shaped = ShapedDecoder(self._outline, self._limits)

    def _is_moment(self, text: Any) -> bool:
        if type(text) is not str or _MOMENT.fullmatch(text) is None or text[:19] >= self._before:
            return False
        if text.endswith(".000000Z"):
            return False
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return False
        return True

    def _parse_tags(self, tags: Any) -> list[str] | None:
        if type(tags) is not list:
            return None
        try:
            known = self._tags.get(tuple(tags))
            if known is None:
                known = list(parse_tag_list(tags, self._limits))
                if len(self._tags) >= MAX_TAG_LISTS:
                    self._tags.clear()
                self._tags[tuple(tags)] = known
        except (TypeError, ValueFault):
            return None
        return known
