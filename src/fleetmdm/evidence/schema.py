"""The JSON Schema of the JSON documents of an evidence pack (draft 2020-12): manifest, view, record.

A schema says the shape; that the bytes are canonical and the digests right is what `evidence
verify` checks. Pure. Rule for editors: docs/evidence-format.md says the same in words.
"""

from __future__ import annotations

from typing import Any, Final

from fleetmdm.evidence import manifest, view
from fleetmdm.evidence.redact import Profile

EVIDENCE_ID: Final = "urn:fleetmdm:schema:evidence:1"

_COUNT: Final = {"type": "integer", "minimum": 0}
_DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SALT: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TEXT: Final = {"type": "string"}


def evidence_schema() -> dict[str, Any]:
    """Any of the three; each alone is under `$defs`."""
    shapes = {"manifest": _manifest(), "view": _view(), "record": _record()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": EVIDENCE_ID,
        "title": "Documents of a FleetMDM evidence pack",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in shapes],
        "$defs": shapes,
    }


def _object(title: str, members: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _manifest() -> dict[str, Any]:
    whole = _object("a file that is the same in every view", _whole())
    records = _object(
        "a file of records", {"kind": {"const": "records"}, "root": _DIGEST, "count": _COUNT}
    )
    signer = {
        "fingerprint": {"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$"},
        "algorithm": _TEXT,
        "forms": {"type": "array", "items": _TEXT, "minItems": 1},
    }
    members = {
        "type": {"const": manifest.TYPE},
        "schema": {"const": manifest.SCHEMA},
        "tool": _object("what made it", {"name": {"const": "fleetmdm"}, "version": _TEXT}),
        "run": {"type": "object"},
        "ledger": {"type": "object"},
        "signers": {"type": "array", "items": _object("a key that signs at export", signer)},
        "files": {"type": "object", "additionalProperties": {"oneOf": [whole, records]}},
    }
    return _object("manifest.json", members)


def _whole() -> dict[str, Any]:
    return {"kind": {"const": "whole"}, "sha256": _DIGEST, "bytes": _COUNT}


def _view() -> dict[str, Any]:
    shown = _object("fields of one file", {"opened": _COUNT, "hidden": _COUNT})
    members = {
        "type": {"const": view.TYPE},
        "schema": {"const": view.SCHEMA},
        "manifest_sha256": _DIGEST,
        "profile": {"enum": [profile.value for profile in Profile]},
        "derived": {"type": "boolean"},
        "records": {"type": "object", "additionalProperties": shown},
    }
    return _object("view.json", members)


def _record() -> dict[str, Any]:
    opened = {
        "type": "array",
        "prefixItems": [_SALT, True],
        "minItems": 2,
        "maxItems": 2,
        "description": "salt, value",
    }
    members = {
        "fields": {"type": "object", "additionalProperties": opened},
        "hidden": {"type": "array", "items": _DIGEST},
    }
    return _object("a line of a file of records", members)
