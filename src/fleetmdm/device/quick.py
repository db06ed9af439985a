"""The quick way in for a document of which everything is as it mostly is. Pure.

Rule for editors: what this answers is exactly what `parse_device` and `encode_facts` would give; in
doubt it answers None, and the slow way says what is wrong.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from fleetmdm.device.document import OPTIONAL, REQUIRED, has_plain_identifiers, parse_tag_list
from fleetmdm.device.encoding import encode_document
from fleetmdm.device.values import DeviceLimits, ValueFault, decode_sound
from fleetmdm.rfc3339 import encode_time

_REQUIRED: Final = frozenset(REQUIRED)
_KNOWN: Final = frozenset(REQUIRED + OPTIONAL)
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z", re.ASCII
)
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
    document: dict[str, Any]
    """What `facts` says."""


class QuickReader:
    """Reads documents at one moment, under some limits."""

    def __init__(self, now: datetime, limits: DeviceLimits) -> None:
        self._limits = limits
        latest = now + timedelta(seconds=limits.max_clock_skew_s)
        # Times of one form sort as text does; one second less is decided quickly.
        self._before = encode_time(latest.replace(microsecond=0))[:19]
        self._tags: dict[tuple[Any, ...], list[str]] = {}

    def read(self, data: bytes) -> QuickDocument | None:
        """The document, or None where this cannot tell."""
        document = decode_sound(data, self._limits)
        if document is None or not _REQUIRED <= document.keys() <= _KNOWN:
            return None
        if not has_plain_identifiers(document, self._limits):
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
        serial = document.setdefault("serial", None)
        facts = encode_document(document)
        return QuickDocument(document["device_id"], serial, last_seen, facts, document)

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
