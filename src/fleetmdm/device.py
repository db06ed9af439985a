"""The device document: what an inventory source says about one device at one moment.

Pure: no clock, no I/O. Shape of the JSON: `device_id hostname os os_version serial last_seen
facts{...}`; `serial` may be null; `last_seen` is RFC 3339; `facts` is nested JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """One parsed device document. `last_seen` is aware and in UTC."""

    device_id: str
    hostname: str
    os: str
    os_version: str
    serial: str | None
    last_seen: datetime
    facts: Mapping[str, Any]
    tags: tuple[str, ...] = ()
