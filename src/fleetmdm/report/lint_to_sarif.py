"""What lint says as SARIF 2.1.0 (OASIS): a rule for each code, a result for each finding.

What makes a file unusable is an "error", what a reader would say of a sound one a "warning".
Columns count code points, as everywhere in FleetMDM (section 3.14.17).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from fleetmdm.lint import LINT_CODES
from fleetmdm.policy_yaml import Problem
from fleetmdm.policy_yaml.problems import PROBLEM_CODES
from fleetmdm.report.to_sarif import SCHEMA, encode_tool

_CODES: Final = tuple(sorted(LINT_CODES))


def render_findings(findings: Sequence[Problem], *, tool_version: str) -> str:
    """The whole document, in ASCII: a file's name may hold what UTF-8 cannot say."""
    run = {
        "tool": encode_tool(tool_version, [_rule(code) for code in _CODES]),
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding) for finding in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(code: str) -> dict[str, Any]:
    return {
        "id": code,
        "shortDescription": {"text": LINT_CODES[code]},
        "fullDescription": {"text": f"{LINT_CODES[code]}; see docs/policy-language.md"},
        "defaultConfiguration": {"level": _level(code)},
    }


def _level(code: str) -> str:
    return "error" if code in PROBLEM_CODES else "warning"


def _result(finding: Problem) -> dict[str, Any]:
    identity = f"{finding.file}\0{finding.code}\0{finding.message}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "ruleId": finding.code,
        "ruleIndex": _CODES.index(finding.code),
        "level": _level(finding.code),
        "message": {"text": finding.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(finding.file)},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
        "partialFingerprints": {"policyFinding/v1": digest},
    }


def _uri(file: str) -> str:
    """A path as it was given, as a URI; relative ones stay so."""
    path = quote(file, safe="/", errors="surrogateescape")
    return f"file://{path}" if path.startswith("/") else path
