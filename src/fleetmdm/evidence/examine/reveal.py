"""Whom a pseudonym stands for: the holder of the fleet's key looks through the fleet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fleetmdm.device import Device
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.flatten import flatten
from fleetmdm.evidence.redact import Class, classify, texts_of


@dataclass(frozen=True, slots=True)
class Revealed:
    """One pseudonym and what it stands for, as it was first met."""

    pseudonym: str
    path: str
    value: str
    device_id: str


def reveal(keys: FleetKeys, devices: Iterable[Device], wanted: Collection[str]) -> list[Revealed]:
    """Every wanted pseudonym that some identifier of some device gives, in the order met."""
    left = set(wanted)
    found: list[Revealed] = []
    for device in devices:
        for path, kind, text in _identifiers(device):
            name = keys.pseudonym(kind, text)
            if name in left:
                left.discard(name)
                found.append(Revealed(name, path, text, device.device_id))
        if not left:
            break
    return found


def _identifiers(device: Device) -> Iterator[tuple[str, str, str]]:
    """(path, kind of pseudonym, value) of everything that a pack would give a pseudonym."""
    pairs: list[tuple[str, Any]] = [
        ("device_id", device.device_id),
        ("hostname", device.hostname),
        ("serial", device.serial),
        *flatten("facts", device.facts),
    ]
    for path, value in pairs:
        treatment = classify(path)
        if treatment.cls is Class.IDENTIFIER:
            yield from ((path, treatment.kind, text) for text in texts_of(value) if text)
