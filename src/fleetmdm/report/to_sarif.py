"""A report as SARIF 2.1.0 (OASIS), streamed: a rule for each policy, a result for each problem row.

`fail` becomes kind "fail" at a level that follows the severity; `error` and `unknown` become kind
"open" (section 3.27.9: not enough is known). A fingerprint names device and policy, so that a
result is the same one in the next run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from clikit.table import show_text
from fleetmdm.governance.effective import EXCUSED, Effective
from fleetmdm.policy import CompliancePolicy
from fleetmdm.report.model import PROBLEM_STATES, PolicyLine, Report, ReportRow
from fleetmdm.report.to_json import (
    dump,
    encode_counts,
    encode_effective,
    encode_finding,
)
from fleetmdm.report.to_table import describe
from fleetmdm.results import Severity, Status
from fleetmdm.rfc3339 import encode_time

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_LEVELS: Final = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_SCORES: Final = {
    Severity.INFO: "0.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.0",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
"""What code hosts show beside a result, on the scale of CVSS."""


def render(report: Report, *, max_failures_per_policy: int = 0) -> Iterator[str]:
    """The whole document; 0 keeps every result."""
    places = {line.policy.id: place for place, line in enumerate(report.lines)}
    yield f'{{"$schema": {dump(SCHEMA)}, "version": "2.1.0", "runs": [{{\n'
    tool = encode_tool(report.run.tool_version, [_rule(line) for line in report.lines])
    yield f'"tool": {dump(tool)},\n'
    yield f'"invocations": {dump([_invocation(report)])},\n'
    yield f'"properties": {dump(_properties(report))},\n'
    yield '"results": ['
    separator, seen = "\n", Counter[str]()
    for each in report.rows:
        if each.row.status not in PROBLEM_STATES:
            continue
        seen[each.policy.id] += 1
        if max_failures_per_policy and seen[each.policy.id] > max_failures_per_policy:
            continue
        yield separator + dump(_result(each, places[each.policy.id]))
        separator = ",\n"
    yield "\n]}]}\n"


def encode_tool(tool_version: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """The `tool` of a run with these rules."""
    return {"driver": {"name": "FleetMDM", "version": tool_version, "rules": rules}}


def _rule(line: PolicyLine) -> dict[str, Any]:
    policy = line.policy
    rule: dict[str, Any] = {
        "id": policy.id,
        "name": policy.name,
        "shortDescription": {"text": policy.name},
        "fullDescription": {"text": policy.description or policy.name},
        "helpUri": _help_uri(policy),
        "defaultConfiguration": {"level": _LEVELS[policy.severity]},
        "properties": {
            "tags": sorted(
                {*policy.tags, *(f"{r.framework} {r.control}" for r in policy.references)}
            ),
            "severity": policy.severity.value,
            "security-severity": _SCORES[policy.severity],
            "counts": encode_counts(line.counts),
        },
    }
    if policy.remediation:
        rule["help"] = {"text": policy.remediation}
    return rule


def _help_uri(policy: CompliancePolicy) -> str:
    urls = (reference.url for reference in policy.references)
    first = next((url for url in urls if url.startswith(("https://", "http://"))), None)
    return first or f"fleetmdm://policy/{quote(policy.id, safe='')}"


def _properties(report: Report) -> dict[str, Any]:
    return {
        "run_id": report.run.run_id or None,
        "devices": report.device_count,
        "selection": list(report.selection.words()),
        "redaction": report.redaction,
    }


def _invocation(report: Report) -> dict[str, Any]:
    return {
        "executionSuccessful": True,
        "startTimeUtc": encode_time(report.run.started_at),
        "endTimeUtc": encode_time(report.run.finished_at),
    }


def _suppressed(state: Effective) -> dict[str, Any]:
    """SARIF 2.1.0 section 3.35: people look at it and accept it, for now."""
    if state.status not in EXCUSED:
        return {}
    justification = _message(state.reason)
    return {
        "suppressions": [{"kind": "external", "status": "accepted", "justification": justification}]
    }


def _result(each: ReportRow, rule_index: int) -> dict[str, Any]:
    row = each.row
    failed = row.status is Status.FAIL
    what = "; ".join(describe(finding) for finding in each.findings()) or each.policy.name
    uri = f"fleetmdm://device/{quote(row.device_id, safe='')}"
    identity = hashlib.sha256(f"{row.device_id}\0{row.policy_id}".encode()).hexdigest()
    return {
        **_suppressed(each.effective),
        "ruleId": row.policy_id,
        "ruleIndex": rule_index,
        "kind": "fail" if failed else "open",
        "level": _LEVELS[each.severity] if failed else "none",
        "message": {"text": _message(f"{row.device_id}: {what}")},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": uri}},
                "logicalLocations": [{"fullyQualifiedName": row.device_id, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"devicePolicy/v1": identity},
        "properties": {
            "status": row.status.value,
            "effective": encode_effective(each.effective),
            "since_run": row.since_run or None,
            "findings": [encode_finding(finding) for finding in each.findings()],
        },
    }


def _message(text: str) -> str:
    """Text that no viewer takes for a link (section 3.11.6) nor a terminal for a command."""
    return show_text(text).replace("](", "] (")
