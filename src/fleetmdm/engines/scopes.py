"""Which devices a scope means now, and why a policy applies to a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetmdm.device import Device
from fleetmdm.engines.local import BATCH_DEVICES, batched
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import evaluate
from fleetmdm.governance.assign import Assignment
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.policy import Combine, CompliancePolicy, Group
from fleetmdm.policy_yaml import parse_selector
from fleetmdm.results import Status, Verdict
from fleetmdm.store.port import FleetStore


@dataclass(frozen=True, slots=True)
class Meant:
    """The devices that a scope means, and those that cannot be told."""

    device_ids: frozenset[str]
    undecided: tuple[str, ...] = ()
    """A selector is unknown or an error on these; a statement does not cover them."""


def resolve_scope(store: FleetStore, scope: Scope, *, now: datetime) -> Meant:
    """The devices in a scope as they are now. Raises `device_not_found` for a single device."""
    if scope.kind is ScopeKind.DEVICE:
        return Meant(frozenset({find_device(store, scope.value).device_id}))
    if scope.kind is ScopeKind.TAG:
        tagged = (one.device_id for one in store.devices() if scope.value in one.tags)
        return Meant(frozenset(tagged))
    meant, undecided = set(), []
    for batch in batched(store.devices(), BATCH_DEVICES):
        for verdict in _decide(batch, scope, now):
            if verdict.status is Status.PASS:
                meant.add(verdict.device_id)
            elif verdict.status in {Status.UNKNOWN, Status.ERROR}:
                undecided.append(verdict.device_id)
    return Meant(frozenset(meant), tuple(undecided))


def find_device(store: FleetStore, device_id: str) -> Device:
    """A current device. Raises `device_not_found`."""
    device = next(store.devices(device_id=device_id), None)
    if device is None:
        hint = "see `fleetmdm device list`"
        message = f"no device has the id '{device_id}'"
        raise FleetError("device_not_found", message, hint=hint, details={"device_id": device_id})
    return device


@dataclass(frozen=True, slots=True)
class Reason:
    """What one assignment says of one device: yes, no, or that it cannot be told."""

    assignment: Assignment
    applies: bool | None
    why: str


def explain(
    device: Device, assignments: Iterable[Assignment], *, now: datetime
) -> Iterator[Reason]:
    """Each assignment with what it says of a device, in the order given."""
    for one in assignments:
        scope = one.scope
        if scope.kind is ScopeKind.DEVICE:
            applies = scope.value == device.device_id
            yield Reason(one, applies, "it is this device" if applies else "it is another device")
        elif scope.kind is ScopeKind.TAG:
            applies = scope.value in device.tags
            said = "has" if applies else "does not have"
            yield Reason(one, applies, f"the device {said} the tag {scope.value}")
        else:
            yield _explain_selector(device, one, now)


def _explain_selector(device: Device, one: Assignment, now: datetime) -> Reason:
    (verdict,) = _decide([device], one.scope, now)
    if verdict.status is Status.PASS:
        return Reason(one, applies=True, why="the device meets the condition")
    said = "; ".join(finding.message for finding in verdict.findings)
    if verdict.status in {Status.UNKNOWN, Status.ERROR}:
        return Reason(one, None, f"it cannot be told: {said}")
    return Reason(one, applies=False, why=said or "the condition is not about this device")


def _decide(devices: Sequence[Device], scope: Scope, now: datetime) -> Sequence[Verdict]:
    node, _ = parse_selector(scope.value, name="a selector")
    check = Group("where", Combine.ALL, (node,), node.position)
    question = CompliancePolicy("selector", "selector", check, b"", "")
    return evaluate(devices, [question], now)
