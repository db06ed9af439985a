"""The union of what several sources say about one device. Pure.

Rule for editors: the order of the snapshots is their precedence; nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetmdm.device.document import Device

UNKNOWN = "unknown"
"""What a source writes as `os` or `os_version` when it does not say."""


def merge_snapshots(snapshots: Sequence[Device]) -> Device:
    """One device from its snapshots, the most trusted source first.

    The first decides the identity and every fact that it has; later ones add facts and tags, and
    the operating system where those before do not know it. Objects are merged key by key, lists
    and other values are taken whole. `last_seen` is the latest of all.
    """
    first = snapshots[0]
    if len(snapshots) == 1:
        return first
    facts: Mapping[str, Any] = first.facts
    for snapshot in snapshots[1:]:
        facts = _merge_facts(facts, snapshot.facts)
    return Device(
        device_id=first.device_id,
        hostname=first.hostname,
        os=_first_known([one.os for one in snapshots]),
        os_version=_first_known([one.os_version for one in snapshots]),
        serial=next((one.serial for one in snapshots if one.serial is not None), None),
        last_seen=max(one.last_seen for one in snapshots),
        facts=facts,
        tags=tuple(sorted({tag for one in snapshots for tag in one.tags})),
    )


def _first_known(texts: Sequence[str]) -> str:
    return next((text for text in texts if text != UNKNOWN), texts[0])


def _merge_facts(over: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for key in over.keys() & under.keys():
        if isinstance(over[key], Mapping) and isinstance(under[key], Mapping):
            merged[key] = _merge_facts(over[key], under[key])
    return merged
