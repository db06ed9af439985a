"""`fleetmdm check --device`: judge one device and record nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from clikit.table import render_table
from fleetmdm.cli.judging.gate import Gate, gate_failure, stale_after
from fleetmdm.cli.session import FleetCall
from fleetmdm.engines.local import judge_device
from fleetmdm.governance.effective import Effective
from fleetmdm.policy import CompliancePolicy
from fleetmdm.report.model import PolicyLine, add_counts
from fleetmdm.report.to_json import encode_counts, encode_effective, encode_finding
from fleetmdm.report.to_table import describe
from fleetmdm.results import Verdict
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.standing import judge_now

Judged = tuple[Verdict, Effective]


def check_device(
    call: FleetCall,
    device_id: str,
    as_of: datetime,
    gate: Gate,
    *,
    only_assigned: bool,
) -> None:
    """Judge one device and say what came of it."""
    oldest = stale_after(call)
    with call.open_store() as store:
        judgement = judge_device(store, device_id, as_of=as_of, only_assigned=only_assigned)
        policies = {policy.id: policy for policy in judgement.policies}
        rows = judge_now(store, list(judgement.verdicts), policies, as_of=as_of, stale_after=oldest)
    data = {
        "device_id": device_id,
        "as_of": encode_time(as_of),
        "recorded": False,
        "counts": encode_counts(add_counts({verdict.status: 1} for verdict, _ in rows)),
        "results": [_encode(*each) for each in rows],
    }
    found = gate_failure(_lines(rows, policies), gate)
    call.emit(data, lambda: _text(rows, call.width), found=found)


def _lines(
    rows: Sequence[Judged], policies: Mapping[str, CompliancePolicy]
) -> Iterator[PolicyLine]:
    for verdict, state in rows:
        differs = state.status.value != verdict.status.value
        yield PolicyLine(
            policies[verdict.policy_id],
            {verdict.status: 1},
            {(verdict.status, state.status): 1} if differs else {},
        )


def _encode(verdict: Verdict, state: Effective) -> dict[str, Any]:
    until = verdict.valid_until
    return {
        "policy_id": verdict.policy_id,
        "status": verdict.status.value,
        "effective": encode_effective(state),
        "valid_until": None if until is None else encode_time(until),
        "findings": [encode_finding(finding) for finding in verdict.findings],
    }


def _text(rows: Sequence[Judged], width: int | None) -> Iterator[str]:
    cells = [
        (verdict.policy_id, _state(verdict, state), "" if one is None else describe(one))
        for verdict, state in rows
        for one in (verdict.findings or (None,))
    ]
    yield render_table(("policy", "state", "what"), cells, width=width)


def _state(verdict: Verdict, state: Effective) -> str:
    raw, now = verdict.status.value, state.status.value
    return raw if raw == now else f"{now} ({raw})"
