"""Making waivers and attestations: the scope is frozen, the ends are settled, the store keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetmdm.engines.scopes import Meant, resolve_scope
from fleetmdm.errors import FleetError
from fleetmdm.governance.effective import PROBLEMS
from fleetmdm.governance.expiry import end_of_day
from fleetmdm.governance.findings import Present, WaiverFinding, find_waiver_faults
from fleetmdm.governance.scope import Scope
from fleetmdm.governance.statements import Answer, Attestation, Waiver
from fleetmdm.ledger.entries import encode_statement_leaf
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml.waivers import WaiverRequest
from fleetmdm.store.port import FleetStore


@dataclass(frozen=True, slots=True)
class Approved:
    """A waiver that was made, and how its scope was read."""

    waiver: Waiver
    undecided: tuple[str, ...]


def approve_waivers(
    store: FleetStore, requests: Sequence[WaiverRequest], *, now: datetime
) -> list[Approved]:
    """Make waivers; every one is looked at before the first is kept.

    Raises `policy_not_found`, `device_not_found`, `waiver_invalid` (it covers nothing, or has
    ended already) and `statement_exists`.
    """
    known = {name for name, _ in store.policy_sources()}
    used = {one.id for one in store.waivers(revoked=True)}
    drafts = []
    for request in requests:
        if request.policy_id not in known:
            hint = "see `fleetmdm policy list`"
            message = f"no policy has the id '{request.policy_id}'"
            details = {"policy_id": request.policy_id}
            raise FleetError("policy_not_found", message, hint=hint, details=details)
        if request.id and request.id in used:
            raise FleetError("statement_exists", f"there is or was a waiver {request.id}")
        used.add(request.id)
        meant = resolve_scope(store, request.scope, now=now)
        drafts.append((_draft(request, meant, now), meant.undecided))
    return [
        Approved(store.put_statement(waiver, leaf=encode_statement_leaf), undecided)
        for waiver, undecided in drafts
    ]


def _draft(request: WaiverRequest, meant: Meant, now: datetime) -> Waiver:
    expires_at = end_of_day(request.expires, request.zone)
    if expires_at <= now:
        hint = "a waiver holds to the end of a day to come"
        raise FleetError("waiver_invalid", f"{request.expires} is over", hint=hint)
    _refuse_nothing(meant, request.scope, "waiver_invalid")
    return Waiver(
        id=request.id,
        policy_id=request.policy_id,
        scope=request.scope,
        device_ids=meant.device_ids,
        reason=request.reason,
        risk_owner=request.risk_owner,
        approver=request.approver,
        approved_at=now,
        expires=request.expires,
        zone=request.zone,
        expires_at=expires_at,
        compensating_control=request.compensating_control,
    )


def _refuse_nothing(meant: Meant, scope: Scope, code: str) -> None:
    if not meant.device_ids:
        hint = "the scope is frozen now; a device that comes later is not in it"
        raise FleetError(code, f"{scope} means no device", hint=hint)


@dataclass(frozen=True, slots=True)
class AttestationRequest:
    """What somebody vouches for, before it is kept."""

    policy_id: str
    scope: Scope
    answer: Answer
    statement: str
    attested_by: str
    valid_for: timedelta | None = None
    """None is the policy's own period."""
    id: str = ""


def attest(store: FleetStore, request: AttestationRequest, *, now: datetime) -> Attestation:
    """Keep an answer. Raises `policy_not_found`, `device_not_found`, `attestation_refused`."""
    policy = _find_policy(store, request.policy_id)
    if policy.attestation is None:
        hint = "attest answers policies that have `attestation` in the place of `checks`"
        message = f"{policy.id} is decided by facts, not by people"
        raise FleetError("attestation_refused", message, hint=hint)
    period = request.valid_for or policy.attestation.period
    if period > policy.attestation.period:
        message = f"an answer to {policy.id} stands for {policy.attestation.period} at most"
        raise FleetError("attestation_refused", message)
    meant = resolve_scope(store, request.scope, now=now)
    _refuse_nothing(meant, request.scope, "attestation_refused")
    made = Attestation(
        id=request.id,
        policy_id=policy.id,
        scope=request.scope,
        device_ids=meant.device_ids,
        answer=request.answer,
        statement=request.statement,
        attested_by=request.attested_by,
        attested_at=now,
        stale_at=now + period,
    )
    return store.put_statement(made, leaf=encode_statement_leaf)


def _find_policy(store: FleetStore, policy_id: str) -> CompliancePolicy:
    found = store.policies([policy_id])
    if not found:
        hint = "see `fleetmdm policy list`"
        message = f"no policy has the id '{policy_id}'"
        raise FleetError("policy_not_found", message, hint=hint, details={"policy_id": policy_id})
    return found[0]


def review_waivers(
    store: FleetStore, waivers: Iterable[Waiver], *, now: datetime
) -> list[WaiverFinding]:
    """What is wrong with these waivers as the fleet stands in its newest run."""
    problems: dict[str, set[str]] = {}
    newest = next(iter(store.runs(limit=1)), None)
    if newest is not None:
        for row in store.results(newest.run_id, statuses=PROBLEMS):
            problems.setdefault(row.policy_id, set()).add(row.device_id)
    present = Present(
        device_ids={device.device_id for device in store.devices()},
        policy_ids={name for name, _ in store.policy_sources()},
        problems=problems,
    )
    return find_waiver_faults(list(waivers), present, now=now)
