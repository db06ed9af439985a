"""A report as JSON, streamed: the envelope's success shape, one row at a time.

Shape of `data`: `run`, `live`, `selection`, `redaction`, `summary`, `severities`, `policies`,
`results`; `schema` has it as JSON Schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from clikit.envelope import SCHEMA, encode_failure
from clikit.errors import Failure
from fleetmdm.governance.effective import Differences, Effective
from fleetmdm.report.model import PolicyLine, Report, ReportRow, score
from fleetmdm.results import Finding, Run, Status
from fleetmdm.rfc3339 import encode_time


def render(report: Report, *, found: Failure | None = None) -> Iterator[str]:
    """The whole document, in pieces; `found` makes it the done-but-wrong shape."""
    yield f'{{"schema": {SCHEMA}, "ok": {"true" if found is None else "false"}, "data": {{\n'
    for name, value in _head(report).items():
        yield f"{dump(name)}: {dump(value)},\n"
    yield '"results": ['
    separator = "\n"
    for row in report.rows:
        yield separator + dump(encode_row(row))
        separator = ",\n"
    yield "\n]}"
    if found is not None:
        yield f',\n"error": {dump(encode_failure(found))}'
    yield "}\n"


_QUICK: Final = msgspec.json.Encoder().encode
_EXACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def dump(value: Any) -> str:
    """One value as JSON on one line."""
    try:
        return _QUICK(value).decode()
    except (OverflowError, TypeError, ValueError):
        # Whole numbers past 64 bits and lone surrogates, which only the slower one can say.
        return _EXACT(value)


def _head(report: Report) -> dict[str, Any]:
    totals = report.totals()
    head: dict[str, Any] = {
        "run": encode_run(report.run),
        "live": report.live,
        "selection": list(report.selection.words()),
        "redaction": report.redaction,
        "summary": {
            "devices": report.device_count,
            "counts": encode_counts(totals),
            "score": score(totals),
        },
        "severities": {
            severity.value: encode_counts(counts)
            for severity, counts in report.by_severity().items()
        },
        "policies": [encode_line(line) for line in report.lines],
    }
    if len(report.selection.device_ids) == 1:
        head["device_id"] = report.selection.device_ids[0]
    return head


def encode_run(run: Run) -> dict[str, Any]:
    """A run's own members; one that is not recorded has no number."""
    return {
        "run_id": run.run_id or None,
        "started_at": encode_time(run.started_at),
        "finished_at": encode_time(run.finished_at),
        "as_of": encode_time(run.as_of),
        "devices": run.devices,
        "policies": run.policies,
        "counts": encode_counts(run.counts),
        "tool_version": run.tool_version,
        "policy_set_hash": run.policy_set_hash,
        "inventory_root": run.inventory_root,
        "result_root": run.result_root,
    }


def encode_counts(counts: Mapping[Status, int]) -> dict[str, int]:
    """Counts by the name of the state, in the order of the states."""
    return {state.value: counts[state] for state in Status if counts.get(state)}


def encode_line(line: PolicyLine) -> dict[str, Any]:
    """A policy with its totals."""
    policy = line.policy
    return {
        "policy_id": policy.id,
        "name": policy.name,
        "severity": policy.severity.value,
        "description": policy.description,
        "remediation": policy.remediation,
        "references": [
            {"framework": each.framework, "control": each.control, "url": each.url}
            for each in policy.references
        ],
        "counts": encode_counts(line.counts),
        "effective": encode_differences(line.differences),
        "score": score(line.counts),
    }


def encode_differences(differences: Differences) -> dict[str, dict[str, int]]:
    """Devices by effective, then raw state, wherever the two differ."""
    told: dict[str, dict[str, int]] = {}
    for (raw, state), count in sorted(differences.items()):
        told.setdefault(state.value, {})[raw.value] = count
    return told


def encode_effective(state: Effective) -> dict[str, Any]:
    """An effective state, why, and until when it stands by itself."""
    until = state.valid_until
    return {
        "status": state.status.value,
        "reason": state.reason,
        "valid_until": None if until is None else encode_time(until),
    }


def encode_row(each: ReportRow) -> dict[str, Any]:
    """One verdict with its findings."""
    row = each.row
    return {
        "device_id": row.device_id,
        "policy_id": row.policy_id,
        "severity": each.severity.value,
        "status": row.status.value,
        "effective": encode_effective(each.effective),
        "since_run": row.since_run or None,
        "findings": [encode_finding(finding) for finding in each.findings()],
    }


def encode_finding(finding: Finding) -> dict[str, Any]:
    """One finding."""
    return {
        "check": finding.check,
        "key": finding.key,
        "op": finding.op,
        "expected": finding.expected,
        "observed": finding.observed,
        "reason": finding.reason,
        "message": finding.message,
    }
