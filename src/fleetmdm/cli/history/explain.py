"""`fleetmdm triage --explain DEVICE POLICY`: all that stands behind one verdict of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clikit.table import render_table, show_text
from fleetmdm.cli.session import FleetCall
from fleetmdm.device import Device
from fleetmdm.engines.explain import ExplainedCheck, explain_checks
from fleetmdm.engines.replay import silent_states
from fleetmdm.engines.scopes import explain
from fleetmdm.errors import FleetError
from fleetmdm.governance.statements import Statement
from fleetmdm.policy import CompliancePolicy
from fleetmdm.report.to_json import encode_effective
from fleetmdm.report.to_table import show_value
from fleetmdm.results import Run
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.port import FleetStore
from fleetmdm.store.standing import RunStanding


def explain_pair(
    call: FleetCall, store: FleetStore, run: Run, device_id: str, policy_id: str
) -> None:
    """Say why; raises `device_not_found` or `policy_not_found`."""
    policy = _find_policy(store, run, policy_id)
    device = next(store.run_devices(run.run_id, device_id=device_id), None)
    if device is None:
        message = f"run {run.run_id} knew no device {device_id}"
        raise FleetError("device_not_found", message, details={"device_id": device_id})
    checks = list(explain_checks(device, policy, as_of=run.as_of))
    data = {
        "run_id": run.run_id,
        "as_of": encode_time(run.as_of),
        "device": {
            "device_id": device.device_id,
            "hostname": device.hostname,
            "tags": list(device.tags),
            "last_seen": encode_time(device.last_seen),
        },
        "policy": {
            "policy_id": policy.id,
            "name": policy.name,
            "severity": policy.severity.value,
            "remediation": policy.remediation,
        },
        **_verdict(store, run, device, policy),
        "checks": [_check(one) for one in checks],
        **_decisions(store, run, device, policy_id),
    }
    call.emit(data, lambda: _text(call, data, checks))


def _find_policy(store: FleetStore, run: Run, policy_id: str) -> CompliancePolicy:
    found = store.policies_of_run(run.run_id, [policy_id])
    if not found:
        message = f"run {run.run_id} used no policy {policy_id}"
        raise FleetError("policy_not_found", message, details={"policy_id": policy_id})
    return found[0]


def _verdict(
    store: FleetStore, run: Run, device: Device, policy: CompliancePolicy
) -> dict[str, Any]:
    """The raw and the effective state, and since when."""
    standing = RunStanding(store, run, [policy])
    found = store.results(run.run_id, device_id=device.device_id, policy_id=policy.id)
    each = next(standing.judge(found), None)
    if each is None:
        pair = (device.device_id, policy.id)
        state = silent_states(store, run, [pair]).get(pair)
        return {"status": state, "effective": None, "since_run": None, "failing_since": None}
    began = each.failing_since
    return {
        "status": each.row.status.value,
        "effective": encode_effective(each.effective),
        "since_run": each.row.since_run,
        "failing_since": None if began is None else encode_time(began),
    }


def _decisions(store: FleetStore, run: Run, device: Device, policy_id: str) -> dict[str, Any]:
    """What people decided about the pair, as the run knew it."""
    assigned = [one for one in store.run_assignments(run.run_id) if one.policy_id == policy_id]
    reasons = explain(device, assigned, now=run.as_of)
    statements: dict[str, Sequence[Statement]] = {
        "waivers": list(store.run_waivers(run.run_id)),
        "attestations": list(store.run_attestations(run.run_id)),
    }
    return {
        "assignments": [
            {**one.assignment.as_json(), "applies": one.applies, "why": one.why} for one in reasons
        ],
        **{
            name: [
                {key: value for key, value in one.as_json().items() if key != "device_ids"}
                for one in many
                if one.policy_id == policy_id and device.device_id in one.device_ids
            ]
            for name, many in statements.items()
        },
    }


def _check(one: ExplainedCheck) -> dict[str, Any]:
    return {
        "check": one.check,
        "key": one.key,
        "op": one.op,
        "expected": one.expected,
        "value": one.value,
        "holds": one.holds,
        "negated": one.negated,
        "reason": one.reason,
        "message": one.message,
        "severity": one.severity.value,
    }


def _text(call: FleetCall, data: Mapping[str, Any], checks: list[ExplainedCheck]) -> Iterator[str]:
    policy, device = data["policy"], data["device"]
    yield f"{show_text(policy['policy_id'])} on {show_text(device['device_id'])}, run {data['run_id']}\n"
    effective = data["effective"]
    yield f"state: {data['status'] or 'not known'}\n"
    if effective and effective["status"] != data["status"]:
        yield show_text(f"stands as {effective['status']}: {effective['reason']}") + "\n"
    if data["failing_since"]:
        yield f"since: {data['failing_since']} (run {data['since_run']})\n"
    if policy["remediation"]:
        yield show_text(f"to do: {policy['remediation']}") + "\n"
    yield "\n"
    headers = ("check", "fact", "found", "op", "expected", "holds", "reason")
    yield render_table(headers, [_cells(one) for one in checks], width=call.width)
    for each in data["assignments"]:
        applies = {True: "applies", False: "does not apply", None: "cannot be told"}[
            each["applies"]
        ]
        yield show_text(f"assignment since {each['assigned_at']} {applies}: {each['why']}") + "\n"
    if not data["assignments"]:
        yield "not assigned by itself: it applies where it targets, unless other policies are assigned\n"
    for each in data["waivers"]:
        yield (
            show_text(
                f"waiver {each['waiver_id']} until {each['expires']}: {each['reason']}"
                f" (owner {each['risk_owner']}, approved by {each['approver']})"
            )
            + "\n"
        )
    for each in data["attestations"]:
        yield (
            show_text(
                f"attestation {each['attestation_id']}: {each['answer']}, {each['statement']}"
            )
            + "\n"
        )


def _cells(one: ExplainedCheck) -> tuple[object, ...]:
    wanted = {True: "yes", False: "no", None: "cannot be told"}[one.holds]
    note = " (should not)" if one.negated else ""
    found = "-" if one.value is None else show_value(one.value)
    return (one.check, one.key, found, one.op, show_value(one.expected), wanted + note, one.reason)
