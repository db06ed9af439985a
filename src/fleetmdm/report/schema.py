"""The JSON Schema of `fleetmdm report --format json` (draft 2020-12): what a consumer may rely on.

Rule for editors: members are added, never renamed or taken away; `to_json` and this say the same,
and a test holds reports of every kind to it.
"""

from __future__ import annotations

from typing import Any, Final

from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.results import Severity, Status

REPORT_ID: Final = "urn:fleetmdm:schema:report:1"

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_HASH: Final = {"type": "string", "pattern": "^([0-9a-f]{64})?$"}
_STATES: Final = [state.value for state in Status]
_EFFECTIVE: Final = [state.value for state in EffectiveStatus]
_COUNTS: Final = {
    "type": "object",
    "propertyNames": {"enum": _STATES},
    "additionalProperties": _COUNT,
}
_SCORE: Final = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
_SEVERITY: Final = {"enum": [severity.value for severity in Severity]}


def report_schema() -> dict[str, Any]:
    """The whole document, success and finding alike."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": REPORT_ID,
        "title": "FleetMDM report",
        **_object(
            {"schema": {"const": 1}, "ok": {"type": "boolean"}, "data": _data()},
            error=_object(
                {"code": _TEXT, "message": _TEXT, "hint": _TEXT, "details": {"type": "object"}}
            ),
        ),
    }


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _data() -> dict[str, Any]:
    return _object(
        {
            "run": _run(),
            "live": {"type": "boolean", "description": "judged just now and not recorded"},
            "selection": _list(_TEXT),
            "redaction": {"enum": ["none", "minimal", "strict"]},
            "summary": _object({"devices": _COUNT, "counts": _COUNTS, "score": _SCORE}),
            "severities": {
                "type": "object",
                "propertyNames": _SEVERITY,
                "additionalProperties": _COUNTS,
            },
            "policies": _list(_policy()),
            "results": _list(_result()),
        },
        device_id=_TEXT,
    )


def _run() -> dict[str, Any]:
    number = {"type": ["integer", "null"], "description": "null where nothing is recorded"}
    times = dict.fromkeys(("started_at", "finished_at", "as_of"), _TIME)
    hashes = dict.fromkeys(("policy_set_hash", "inventory_root", "result_root"), _HASH)
    counts = {"devices": _COUNT, "policies": _COUNT, "counts": _COUNTS, "tool_version": _TEXT}
    return _object({"run_id": number, **times, **counts, **hashes})


def _policy() -> dict[str, Any]:
    return _object(
        {
            "policy_id": _TEXT,
            "name": _TEXT,
            "severity": _SEVERITY,
            "description": _TEXT,
            "remediation": _TEXT,
            "references": _list(_object({"framework": _TEXT, "control": _TEXT, "url": _TEXT})),
            "counts": _COUNTS,
            "effective": {
                "type": "object",
                "propertyNames": {"enum": _EFFECTIVE},
                "additionalProperties": _COUNTS,
                "description": "devices by effective, then raw state, where the two differ",
            },
            "score": _SCORE,
        }
    )


def _result() -> dict[str, Any]:
    until = {"anyOf": [_TIME, {"type": "null"}]}
    effective = _object({"status": {"enum": _EFFECTIVE}, "reason": _TEXT, "valid_until": until})
    return _object(
        {
            "device_id": _TEXT,
            "policy_id": _TEXT,
            "severity": _SEVERITY,
            "status": {"enum": _STATES},
            "effective": effective,
            "since_run": {"type": ["integer", "null"]},
            "findings": _list(_finding()),
        }
    )


def _finding() -> dict[str, Any]:
    texts = dict.fromkeys(("check", "key", "op", "reason", "message"), _TEXT)
    return _object({**texts, "expected": True, "observed": True})
