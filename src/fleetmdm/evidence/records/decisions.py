"""What people decided, as fields of records, and read back from them for judging again. Pure.

Devices stand in these records by their pseudonyms, so that a decision can be followed without
naming anyone; the words that people wrote are withheld wherever names are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from clikit.canonical import encode_canonical
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.governance.assign import Assignment
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Waiver
from fleetmdm.rfc3339 import encode_time, parse_time

Pairs = Iterator[tuple[str, Any]]


def assignment_pairs(assignment: Assignment, keys: FleetKeys) -> Pairs:
    """The fields of an assignment; `devices` names the one that it is for, if it is for one."""
    yield "policy_id", assignment.policy_id
    yield from _scope_pairs(assignment.scope)
    if assignment.scope.kind is ScopeKind.DEVICE:
        yield "devices", [keys.pseudonym("device", assignment.scope.value)]
    yield "assigned_at", encode_time(assignment.assigned_at)


def assignment_key(assignment: Assignment) -> str:
    """What tells an assignment from others."""
    scope = assignment.scope
    return encode_canonical([assignment.policy_id, scope.kind.value, scope.value]).decode()


def waiver_pairs(waiver: Waiver, keys: FleetKeys) -> Pairs:
    """The fields of a waiver."""
    yield "waiver_id", waiver.id
    yield "policy_id", waiver.policy_id
    yield from _scope_pairs(waiver.scope)
    yield from _device_pairs(waiver.device_ids, keys)
    yield "justification", waiver.reason
    yield "risk_owner", waiver.risk_owner
    yield "approver", waiver.approver
    yield "approved_at", encode_time(waiver.approved_at)
    yield "expires", waiver.expires.isoformat()
    yield "zone", waiver.zone
    yield "expires_at", encode_time(waiver.expires_at)
    yield "compensating_control", waiver.compensating_control


def attestation_pairs(attestation: Attestation, keys: FleetKeys) -> Pairs:
    """The fields of an attestation."""
    yield "attestation_id", attestation.id
    yield "policy_id", attestation.policy_id
    yield from _scope_pairs(attestation.scope)
    yield from _device_pairs(attestation.device_ids, keys)
    yield "answer", attestation.answer.value
    yield "statement", attestation.statement
    yield "attested_by", attestation.attested_by
    yield "attested_at", encode_time(attestation.attested_at)
    yield "stale_at", encode_time(attestation.stale_at)


def _scope_pairs(scope: Scope) -> Pairs:
    yield "scope_kind", scope.kind.value
    yield "scope_value", scope.value


def _device_pairs(device_ids: frozenset[str], keys: FleetKeys) -> Pairs:
    yield "devices", sorted(keys.pseudonym("device", device_id) for device_id in device_ids)
    yield "device_ids", sorted(device_ids)


# Read back: a field that does not show raises KeyError with its name. Devices go by their
# pseudonyms unless `named`; words that do not show are empty.


def parse_assignment(fields: Mapping[str, Any], *, named: bool) -> Assignment:
    """An assignment."""
    kind = ScopeKind(fields["scope_kind"])
    by_mark = kind is ScopeKind.DEVICE and not named
    value = fields["devices"][0] if by_mark else fields["scope_value"]
    return Assignment(fields["policy_id"], Scope(kind, value), parse_time(fields["assigned_at"]))


def parse_waiver(fields: Mapping[str, Any], *, named: bool) -> Waiver:
    """A waiver."""
    return Waiver(
        id=fields["waiver_id"],
        policy_id=fields["policy_id"],
        scope=_parse_scope(fields),
        device_ids=frozenset(fields["device_ids" if named else "devices"]),
        reason=fields.get("justification", ""),
        risk_owner=fields.get("risk_owner", ""),
        approver=fields.get("approver", ""),
        approved_at=parse_time(fields["approved_at"]),
        expires=date.fromisoformat(fields["expires"]),
        zone=fields["zone"],
        expires_at=parse_time(fields["expires_at"]),
        compensating_control=fields.get("compensating_control", ""),
    )


def parse_attestation(fields: Mapping[str, Any], *, named: bool) -> Attestation:
    """An attestation."""
    return Attestation(
        id=fields["attestation_id"],
        policy_id=fields["policy_id"],
        scope=_parse_scope(fields),
        device_ids=frozenset(fields["device_ids" if named else "devices"]),
        answer=Answer(fields["answer"]),
        statement=fields.get("statement", ""),
        attested_by=fields.get("attested_by", ""),
        attested_at=parse_time(fields["attested_at"]),
        stale_at=parse_time(fields["stale_at"]),
    )


def _parse_scope(fields: Mapping[str, Any]) -> Scope:
    kind = ScopeKind(fields["scope_kind"])
    hidden = json.dumps(None) if kind is ScopeKind.SELECTOR else ""
    return Scope(kind, fields.get("scope_value", hidden))
