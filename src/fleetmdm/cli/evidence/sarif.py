"""What `evidence verify` finds as SARIF 2.1.0: a rule for each code, a result for each finding."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fleetmdm.evidence.verify import CODES, WARNINGS, PackFinding, PackReport
from fleetmdm.report.to_sarif import SCHEMA, encode_tool

_TEXTS = {**CODES, **WARNINGS}
_ORDER = tuple(sorted(_TEXTS))


def render_report(pack: Path, report: PackReport, *, tool_version: str) -> str:
    """The whole document; a finding about the pack as a whole stands at its name."""
    run = {
        "tool": encode_tool(tool_version, [_rule(code) for code in _ORDER]),
        "columnKind": "unicodeCodePoints",
        "results": [
            *(_result(pack, each, "error") for each in report.findings),
            *(_result(pack, each, "warning") for each in report.warnings),
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(code: str) -> dict[str, Any]:
    return {
        "id": code,
        "shortDescription": {"text": _TEXTS[code]},
        "fullDescription": {"text": f"{_TEXTS[code]}; see docs/evidence-format.md"},
        "defaultConfiguration": {"level": "warning" if code in WARNINGS else "error"},
    }


def _result(pack: Path, finding: PackFinding, level: str) -> dict[str, Any]:
    identity = f"{finding.file}\0{finding.code}\0{finding.message}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    place = f"{pack.name}/{finding.file}" if finding.file else pack.name
    uri = quote(place, safe="/", errors="surrogateescape")
    return {
        "ruleId": finding.code,
        "ruleIndex": _ORDER.index(finding.code),
        "level": level,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
        "partialFingerprints": {"evidenceFinding/v1": digest},
    }
