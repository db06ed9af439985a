"""Bytes and hash of a device document: JSON with sorted keys, so that equal facts are equal bytes.

Pure. Rule for editors: the hash is over everything but `last_seen`, which changes every day and
says nothing about the device; changing what goes in makes every stored document look changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from fleetmdm.device.document import Device
from fleetmdm.rfc3339 import encode_time

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()


def encode_device(device: Device) -> bytes:
    """The whole document, `last_seen` included; `parse_device` reads it back to the same value."""
    return _encoder.encode({**_facts_document(device), "last_seen": encode_time(device.last_seen)})


def encode_facts(device: Device) -> bytes:
    """The document without `last_seen`."""
    return _encoder.encode(_facts_document(device))


def encode_document(document: Mapping[str, Any] | msgspec.Struct) -> bytes:
    """`encode_facts` of a device from the same keys and values, or fields."""
    return _encoder.encode(document)


def facts_hash(device: Device) -> str:
    """SHA-256 of `encode_facts`, lower-case hex."""
    return hashlib.sha256(encode_facts(device)).hexdigest()


def decode_facts(data: bytes, last_seen: datetime) -> Device:
    """The device that `encode_facts` wrote; trusts its input, so only for what we stored."""
    document = _decoder.decode(data)
    document["tags"] = tuple(document["tags"])
    return Device(last_seen=last_seen, **document)


def _facts_document(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "hostname": device.hostname,
        "os": device.os,
        "os_version": device.os_version,
        "serial": device.serial,
        "facts": device.facts,
        "tags": device.tags,
    }
