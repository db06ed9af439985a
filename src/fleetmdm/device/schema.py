"""The device document as JSON Schema (draft 2020-12), for editors and for who writes exporters. Pure.

The parser is stricter: it also refuses what a schema cannot say (`BEYOND_SCHEMA`). Rule for editors:
whatever the parser takes, the schema takes; a property test holds the two together.
"""

from __future__ import annotations

from typing import Any, Final

from fleetmdm.device.document import DEFAULT_LIMITS, REQUIRED
from fleetmdm.device.values import DeviceLimits

BEYOND_SCHEMA: Final = frozenset(
    {
        "bad_time",
        "clock_skew",
        "control_character",
        "integer_range",
        "not_finite",
        "not_unicode",
        "too_deep",
        "too_many_values",
    }
)
"""Reasons for which the parser may refuse a document that the schema takes."""

# `$` would match before a final line break.
_END = r"(?![\s\S])"
_TRIMMED = rf"^\S(?:[\s\S]*\S)?{_END}"
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    rf"(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}}){_END}"
)


def inventory_schema(limits: DeviceLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The schema of one device document under some limits."""
    identifier = {"$ref": "#/$defs/identifier"}
    said: dict[str, tuple[dict[str, Any], str]] = {
        "device_id": (identifier, "never changes for this device"),
        "hostname": (identifier, "the name that people know it by"),
        "os": (identifier, "linux, darwin, windows and so on"),
        "os_version": (identifier, "number of the release"),
        "serial": ({"anyOf": [identifier, {"type": "null"}]}, "null where it is not known"),
        "last_seen": (
            {"type": "string", "format": "date-time", "pattern": _MOMENT},
            "RFC 3339 with an offset",
        ),
        "facts": ({"$ref": "#/$defs/object"}, "what is known; policies address it by dotted path"),
        "tags": (_tags(limits), "labels that policies select by"),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:fleetmdm:schema:inventory:1",
        "title": "FleetMDM device document",
        "type": "object",
        "required": list(REQUIRED),
        "additionalProperties": False,
        "properties": {
            name: {**schema, "description": sentence} for name, (schema, sentence) in said.items()
        },
        "$defs": _definitions(limits),
    }


def _tags(limits: DeviceLimits) -> dict[str, Any]:
    tag = {"type": "string", "maxLength": limits.max_tag_chars, "pattern": r"\S"}
    return {"type": "array", "maxItems": limits.max_tags, "items": tag}


def _definitions(limits: DeviceLimits) -> dict[str, Any]:
    value = {"$ref": "#/$defs/value"}
    return {
        "identifier": {
            "type": "string",
            "minLength": 1,
            "maxLength": limits.max_identifier_chars,
            "pattern": _TRIMMED,
        },
        "value": {
            "anyOf": [
                {"type": ["null", "boolean", "number"]},
                {"type": "string", "maxLength": limits.max_text_chars},
                {"type": "array", "items": value},
                {"$ref": "#/$defs/object"},
            ]
        },
        "object": {
            "type": "object",
            "propertyNames": {"maxLength": limits.max_key_chars},
            "additionalProperties": value,
        },
    }
