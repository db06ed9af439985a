"""A report as OSCAL assessment results in JSON (NIST OSCAL 1.2.1), streamed.

One result: an observation for each row of a problem, a finding for each policy that was decided.
A policy is met where no device fails, errs or is unknown, waived ones included; one that applies to no device has no
finding, since OSCAL knows only "satisfied" and "not-satisfied". UUIDs are of version 5 over what
they name, so the same device and policy is the same subject in the next document.
Rule for editors: texts of OSCAL are markup; whatever inventory or policies say is escaped. There is
an observation for each row of a fleet, so what rows have in common is made once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Any, Final
from uuid import UUID

from clikit.table import show_text
from fleetmdm.policy import Reference
from fleetmdm.report.model import PROBLEM_STATES, PolicyLine, Report, ReportRow
from fleetmdm.report.samples import shorten
from fleetmdm.report.to_json import dump, encode_counts
from fleetmdm.report.to_markdown import markdown_text
from fleetmdm.report.to_table import describe
from fleetmdm.results import Status
from fleetmdm.rfc3339 import encode_time

OSCAL_VERSION: Final = "1.2.1"

NAMESPACE: Final = UUID("6f6c3f0e-6c0b-5d0e-9b57-1f0f6d3a8c11")
"""Of the names that our UUIDs are made from."""

PROPERTIES: Final = "urn:fleetmdm:oscal"
"""The namespace of our own properties."""

MAX_RELATED: Final = 1_000
"""Observations that one finding refers to; each observation also names its policy."""

_NOT_TOKEN: Final = re.compile(r"[^A-Za-z0-9._-]+")


def render(report: Report, *, assessment_plan: str = "#") -> Iterator[str]:
    """The whole document; `assessment_plan` is where the plan is kept, if there is one."""
    run = report.run
    identity = f"{run.run_id} {run.result_root} {encode_time(run.as_of)}"
    head = {
        "uuid": _uuid("assessment-results", identity),
        "metadata": {
            "title": report.title,
            "last-modified": encode_time(run.finished_at),
            "version": str(run.run_id or encode_time(run.as_of)),
            "oscal-version": OSCAL_VERSION,
        },
        "import-ap": {"href": assessment_plan},
    }
    yield f'{{"assessment-results": {dump(head)[:-1]},\n"results": [\n'
    yield dump(_result(report, identity))[:-1]
    related: dict[str, list[str]] = {line.policy.id: [] for line in report.lines}
    yield from _array("observations", _observations(report, related))
    yield from _array("findings", _findings(report, related))
    yield "}]}}\n"


def _array(name: str, members: Iterator[str]) -> Iterator[str]:
    """A member of an object, left out where it would be empty: the schema wants one item."""
    separator = f",\n{dump(name)}: [\n"
    for member in members:
        yield separator + member
        separator = ",\n"
    if separator == ",\n":
        yield "]"


def _uuid(kind: str, *identity: str) -> str:
    """RFC 9562 version 5, in our namespace; `uuid5` takes three times as long for the same."""
    digest = _NAMED.copy()
    digest.update("\0".join((kind, *identity)).encode())
    text = digest.hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


_NAMED: Final = sha1(NAMESPACE.bytes, usedforsecurity=False)
_TOOL: Final = _uuid("tool", "fleetmdm")


def _result(report: Report, identity: str) -> dict[str, Any]:
    run = report.run
    words = "; ".join(report.selection.words())
    description = f"{report.device_count} devices judged under {run.policies} policies"
    tool = {
        "uuid": _TOOL,
        "type": "software",
        "title": "FleetMDM",
        "description": "Judges device inventory against policies.",
        "props": _props(version=run.tool_version),
        "status": {"state": "operational"},
    }
    counts = {f"count-{state}": count for state, count in encode_counts(report.totals()).items()}
    return {
        "uuid": _uuid("result", identity),
        "title": report.title,
        "description": markdown_text(f"{description}; shown: {words}" if words else description),
        "start": encode_time(run.started_at),
        "end": encode_time(run.finished_at),
        "props": _props(
            **counts,
            devices=report.device_count,
            redaction=report.redaction,
            **{
                "policy-set-hash": run.policy_set_hash,
                "inventory-root": run.inventory_root,
                "result-root": run.result_root,
            },
        ),
        "local-definitions": {"components": [tool]},
        "reviewed-controls": _reviewed(report.lines),
    }


def _reviewed(lines: Sequence[PolicyLine]) -> dict[str, Any]:
    controls = sorted({_control(each) for line in lines for each in line.policy.references})
    if not controls:
        return {"control-selections": [{"include-all": {}}]}
    included = [{"control-id": control} for control in controls]
    return {"control-selections": [{"include-controls": included}]}


def _control(reference: Reference) -> str:
    """A control as a token: "CIS 5.1.20" is cis-5.1.20, "NIST-800-53 AC-2" is nist-800-53-ac-2."""
    return _token(f"{reference.framework}-{reference.control}".lower())


def _token(text: str) -> str:
    token = _NOT_TOKEN.sub("-", text).strip("-.")
    return token if token[:1].isalpha() else f"_{token}"


def _props(**values: object) -> list[dict[str, str]]:
    """Our properties; empty ones are left out, since the schema wants text."""
    return [
        {"name": name, "ns": PROPERTIES, "value": text}
        for name, value in values.items()
        if (text := _line(value))
    ]


def _line(value: object) -> str:
    return show_text(" ".join(str(value).split()))


def _observations(report: Report, related: dict[str, list[str]]) -> Iterator[str]:
    collected = encode_time(report.run.as_of)
    for each in report.rows:
        row = each.row
        if row.status not in PROBLEM_STATES:
            continue
        uuid = _uuid("observation", row.device_id, row.policy_id)
        known = related[row.policy_id]
        if len(known) < MAX_RELATED:
            known.append(uuid)
        what = "; ".join(map(describe, row.findings)) or each.policy.name
        name, device = _device(row.device_id)
        yield (
            f'{{"uuid":"{uuid}","description":{dump(f"{name}{_COLON}{markdown_text(what)}")},'
            f"{device}{_verdict(row.policy_id, each.policy.name, *_states(each))}"
            f'"collected":"{collected}"}}'
        )


_COLON: Final = markdown_text(":") + " "


def _states(each: ReportRow) -> tuple[str, str, str, str, int]:
    effective = each.effective
    row = each.row
    return row.status, effective.status, effective.reason, each.severity, row.since_run


@lru_cache(maxsize=64)
def _device(device_id: str) -> tuple[str, str]:
    """The name in markup, and the members that name the device; rows come device by device."""
    name = markdown_text(device_id) or "-"
    subject = {
        "subject-uuid": _uuid("device", device_id),
        "type": "inventory-item",
        "title": name,
    }
    props = "".join(dump(each) + "," for each in _props(**{"device-id": device_id}))
    return name, f'"subjects":[{dump(subject)}],"props":[{props}'


@lru_cache(maxsize=4096)
def _verdict(
    policy_id: str, name: str, raw: str, effective: str, reason: str, severity: str, since: int
) -> str:
    """The rest of the properties, and the members that many observations have in common."""
    props = _props(
        **{
            "policy-id": policy_id,
            "status": raw,
            "effective": effective,
            "effective-reason": reason,
            "severity": severity,
            "since-run": since or "",
        }
    )
    members = {
        "title": markdown_text(f"{name}: {raw}"),
        "methods": ["TEST"],
        "types": ["finding" if raw == Status.FAIL else "discovery"],
        "origins": [{"actors": [{"type": "tool", "actor-uuid": _TOOL}]}],
    }
    return f"{dump(props)[1:]},{dump(members)[1:-1]},"


def _findings(report: Report, related: dict[str, list[str]]) -> Iterator[str]:
    for line in report.lines:
        if any(line.count(state) for state in (Status.PASS, *PROBLEM_STATES)):
            yield dump(_finding(line, related[line.policy.id]))


def _finding(line: PolicyLine, observations: Sequence[str]) -> dict[str, Any]:
    policy = line.policy
    finding: dict[str, Any] = {
        "uuid": _uuid("finding", policy.id),
        "title": markdown_text(policy.name),
        "description": markdown_text(policy.description or policy.name),
        "props": [
            *_props(
                **{"policy-id": policy.id, "severity": policy.severity.value},
                **{f"count-{name}": count for name, count in encode_counts(line.counts).items()},
            ),
            *(each for one in policy.references for each in _props(control=_control(one))),
        ],
        "target": {
            "type": "objective-id",
            "target-id": _token(policy.id),
            "props": _props(**{"policy-sha256": policy.sha256}),
            "status": _status(line),
        },
    }
    if observations:
        finding["related-observations"] = [{"observation-uuid": one} for one in observations]
    if policy.remediation:
        finding["remarks"] = markdown_text(f"Remediation: {shorten(policy.remediation, 4000)}")
    return finding


def _status(line: PolicyLine) -> dict[str, str]:
    if not any(line.count(state) for state in PROBLEM_STATES):
        return {"state": "satisfied", "reason": "pass"}
    failed = line.count_open(Status.FAIL) > 0
    status = {"state": "not-satisfied", "reason": "fail" if failed else "other"}
    if line.is_met:
        status["remarks"] = "every device that does not meet it is waived or in grace"
    return status
