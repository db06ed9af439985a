"""The JSON Schema of every JSON document of an evidence pack (draft 2020-12), and of its records.

A schema says the shape; that the bytes are canonical and the digests right is what `evidence
verify` checks. Pure. Rule for editors: docs/evidence-format.md says the same in words.
"""

from __future__ import annotations

from typing import Any, Final

from fleetmdm.evidence import manifest, view
from fleetmdm.evidence.attest.dsse import PAYLOAD_TYPE
from fleetmdm.evidence.names import (
    DRIFT,
    LOG_INCLUSION,
    MANIFEST,
    METADATA,
    OPTIONAL_RECORDS,
    RECONCILIATION,
    RECORD_FILES,
    RUN,
    VIEW,
)
from fleetmdm.evidence.redact import Profile

EVIDENCE_ID: Final = "urn:fleetmdm:schema:evidence:1"

_COUNT: Final = {"type": "integer", "minimum": 0}
_DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SALT: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_COUNTS: Final = {"type": "object", "additionalProperties": _COUNT}


def schema_of(name: str) -> str | None:
    """Under which of `$defs` a file of a pack stands; None for what is no JSON of this format."""
    if name in _FILES:
        return _FILES[name]
    if name in RECORD_FILES | OPTIONAL_RECORDS:
        return "record"
    return "envelope" if name.endswith(".dsse") else None


_FILES: Final = {
    MANIFEST: "manifest",
    VIEW: "view",
    METADATA: "metadata",
    RUN: "run",
    RECONCILIATION: "reconciliation",
    DRIFT: "drift",
    LOG_INCLUSION: "inclusion",
}


def evidence_schema() -> dict[str, Any]:
    """Any of the documents; each alone is under `$defs`."""
    shapes = {
        "manifest": _manifest(),
        "view": _view(),
        "record": _record(),
        "metadata": _metadata(),
        "run": _run(),
        "reconciliation": _reconciliation(),
        "drift": _drift(),
        "inclusion": _inclusion(),
        "envelope": _envelope(),
    }
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
        "schema": {"enum": [view.SCHEMA, view.SCHEMA_WITH_RULES]},
        "manifest_sha256": _DIGEST,
        "profile": {"enum": [profile.value for profile in Profile]},
        "derived": {"type": "boolean"},
        "records": {"type": "object", "additionalProperties": shown},
    }
    rules = {"type": "array", "items": _TEXT}
    shape = _object("view.json", members)
    shape["properties"]["rules"] = _object("rules for facts", {"allow": rules, "deny": rules})
    return shape


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


def _metadata() -> dict[str, Any]:
    members = {
        "schema": {"const": 1},
        "format": {"const": "fleetmdm-evidence/1"},
        "tool": _object("what made it", {"name": {"const": "fleetmdm"}, "version": _TEXT}),
        "fleet": _TEXT,
        "files": {"type": "object", "additionalProperties": _TEXT},
    }
    return _object("metadata.json", members)


def _run() -> dict[str, Any]:
    settings = {"only_assigned": {"type": "boolean"}, "stale_after_s": _COUNT}
    members = {
        "schema": {"const": 1},
        "run_id": _COUNT,
        **dict.fromkeys(("started_at", "finished_at", "as_of"), _TIME),
        "tool_version": _TEXT,
        "devices": _COUNT,
        "policies": _COUNT,
        "counts": _COUNTS,
        **dict.fromkeys(("policy_set_hash", "inventory_root", "result_root"), _DIGEST),
        "settings": _object("what the run was told", settings),
    }
    return _object("run.json", members)


def _reconciliation() -> dict[str, Any]:
    outside = ("names", "devices_on_it", "retired_on_it", "missing_from_fleet", "devices_not_on_it")
    devices = ("in_scope", "retired", "not_in_fleet", "evaluated")
    statement = {"name": _TEXT, "left": _COUNT, "right": {"type": "integer"}}
    members = {
        "schema": {"const": 1},
        "run_id": _COUNT,
        "documents": {"oneOf": [{"type": "null"}, _COUNTS]},
        "devices": _object("devices", dict.fromkeys(devices, _COUNT)),
        "policies": _COUNT,
        "verdicts": _object("verdicts", {"expected": _COUNT, "by_state": _COUNTS}),
        "rows": _object("rows", {"results": _COUNT, "not_stored": _COUNT}),
        "outside_list": {
            "oneOf": [
                {"type": "null"},
                _object("an outside list", dict.fromkeys(outside, _COUNT)),
            ]
        },
        "sums": {"type": "array", "items": _object("one statement, counted twice", statement)},
    }
    return _object("reconciliation.json", members)


def _drift() -> dict[str, Any]:
    change = {"before": _TEXT, "after": _TEXT, "count": _COUNT}
    members = {
        "schema": {"const": 1},
        "from_run": {"oneOf": [{"type": "null"}, _COUNT]},
        "to_run": _COUNT,
        "transitions": _COUNT,
        "changes": {"type": "array", "items": _object("one change of state", change)},
        "population": _COUNTS,
    }
    return _object("drift.json", members)


def _inclusion() -> dict[str, Any]:
    path = {"type": "array", "items": _DIGEST}
    return _object("log/inclusion.json", {"index": _COUNT, "size": _COUNT, "path": path})


def _envelope() -> dict[str, Any]:
    signature = _object("a signature", {"keyid": _TEXT, "sig": _TEXT})
    members = {
        "payload": _TEXT,
        "payloadType": {"const": PAYLOAD_TYPE},
        "signatures": {"type": "array", "items": signature, "minItems": 1, "maxItems": 1},
    }
    return _object("a DSSE envelope", members)
