"""`fleetmdm policy assign|unassign|assignments`: where each policy applies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from clikit.table import render_table, show_text
from fleetmdm.cli.governance.scopes import parse_scope, scope_options
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.engines.scopes import Reason, explain, find_device, resolve_scope
from fleetmdm.errors import FleetError
from fleetmdm.governance.assign import Assignment, unmatched_tags
from fleetmdm.governance.scope import Scope, ScopeKind, parse_tag
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.port import FleetStore


@click.command()
@click.argument("policy_id", metavar="ID")
@scope_options
@fleet_options()
def assign(
    call: FleetCall, policy_id: str, *, device_id: str | None, tag: str | None, where: str | None
) -> None:
    """Let a policy apply to a device, to a tag, or to what a check selects.

    As soon as one assignment exists, a policy applies only where one of its own says so.
    """
    scope = parse_scope(device_id, tag, where)
    with call.open_store() as store:
        meant = resolve_scope(store, scope, now=call.now())
        changed = store.assign_policy(policy_id, scope, now=call.now())
    count = len(meant.device_ids)
    data = {
        "policy_id": policy_id,
        "scope": scope.as_json(),
        "changed": changed,
        "devices": count,
        "undecided": len(meant.undecided),
    }
    unsure = f", {len(meant.undecided)} cannot be told" if meant.undecided else ""
    said = "assigned" if changed else "was assigned already"
    call.emit(
        data, lambda: [show_text(f"{policy_id} {said}: {scope} ({count} devices{unsure})") + "\n"]
    )


@click.command()
@click.argument("policy_id", metavar="ID")
@scope_options
@fleet_options()
def unassign(
    call: FleetCall, policy_id: str, *, device_id: str | None, tag: str | None, where: str | None
) -> None:
    """End an assignment; past runs keep it. Without the last one, every policy applies again."""
    scope = parse_scope(device_id, tag, where)
    with call.open_store() as store:
        changed = store.unassign_policy(policy_id, scope, now=call.now())
        left = sum(1 for _ in store.assignments())
    data = {"policy_id": policy_id, "scope": scope.as_json(), "changed": changed, "left": left}
    said = "no longer assigned" if changed else "was not assigned"
    rest = "" if left else "; nothing is assigned now, so every policy applies"
    call.emit(data, lambda: [show_text(f"{policy_id} {said}: {scope}{rest}") + "\n"])


@click.command()
@click.option("--policy", "policy_id", metavar="ID", help="Only those of this policy.")
@click.option("--tag", metavar="TAG", help="Only those to this tag.")
@click.option("--device", "device_id", metavar="ID", help="Why each policy applies to this device.")
@click.option(
    "--unmatched-tags", "unmatched", is_flag=True, help="Only those to tags that no device has."
)
@list_options
@fleet_options()
def assignments(
    call: FleetCall,
    *,
    policy_id: str | None,
    tag: str | None,
    device_id: str | None,
    unmatched: bool,
    listing: Listing,
) -> None:
    """List where policies are assigned."""
    if sum((device_id is not None, tag is not None, unmatched)) > 1:
        raise FleetError("usage", "--device, --tag and --unmatched-tags exclude each other")
    with call.open_store() as store:
        rows = [one for one in store.assignments() if policy_id in {None, one.policy_id}]
        if device_id is not None:
            _explain_device(call, store, device_id, rows, policy_id)
            return
        if tag is not None:
            rows = [one for one in rows if one.scope == Scope(ScopeKind.TAG, parse_tag(tag))]
        if unmatched:
            rows = _unmatched(store, rows)
    empty = "nothing is assigned: every policy applies\n"
    rows = listing.choose(call, rows, Assignment.as_json)
    narrowed = policy_id is not None or tag is not None or unmatched
    call.emit(
        {"assignments": [one.as_json() for one in rows]},
        lambda: [_table(call, rows) if rows else "no such assignment\n" if narrowed else empty],
    )


def _unmatched(store: FleetStore, rows: Sequence[Assignment]) -> list[Assignment]:
    wanted = {one.scope.value for one in rows if one.scope.kind is ScopeKind.TAG}
    used = frozenset(tag for device in store.devices() for tag in device.tags if tag in wanted)
    return unmatched_tags(rows, used)


def _table(call: FleetCall, rows: Sequence[Assignment]) -> str:
    cells = [
        (one.policy_id, one.scope.kind.value, one.scope.value, encode_time(one.assigned_at))
        for one in rows
    ]
    return render_table(("policy", "by", "which", "since"), cells, width=call.width)


# Why a policy applies to one device.


def _explain_device(
    call: FleetCall,
    store: FleetStore,
    device_id: str,
    rows: Sequence[Assignment],
    policy_id: str | None,
) -> None:
    device = find_device(store, device_id)
    anything = bool(rows) or any(True for _ in store.assignments())
    known = [name for name, _ in store.policy_sources() if policy_id in {None, name}]
    reasons: dict[str, list[Reason]] = {name: [] for name in known}
    for reason in explain(device, rows, now=call.now()):
        reasons.setdefault(reason.assignment.policy_id, []).append(reason)
    policies = [
        _explanation(name, each, anything=anything) for name, each in sorted(reasons.items())
    ]
    data = {"device_id": device_id, "tags": list(device.tags), "policies": policies}
    call.emit(data, lambda: _explanations(call, policies))


def _explanation(policy_id: str, reasons: Sequence[Reason], *, anything: bool) -> dict[str, Any]:
    answers = [reason.applies for reason in reasons]
    applies = True if True in answers else None if None in answers else False
    return {
        "policy_id": policy_id,
        "applies": applies if anything else True,
        "reasons": [
            {"scope": one.assignment.scope.as_json(), "applies": one.applies, "why": one.why}
            for one in reasons
        ],
        "why": _why(reasons, anything=anything),
    }


def _why(reasons: Sequence[Reason], *, anything: bool) -> str:
    if not anything:
        return "nothing is assigned, so every policy applies"
    if not reasons:
        return "it is not assigned, and others are"
    for wanted in (True, None):
        for one in reasons:
            if one.applies is wanted:
                return f"{one.assignment.scope}: {one.why}"
    return "; ".join(f"{one.assignment.scope}: {one.why}" for one in reasons)


def _explanations(call: FleetCall, policies: Sequence[dict[str, Any]]) -> Iterator[str]:
    words = {True: "yes", False: "no", None: "unknown"}
    cells = [(one["policy_id"], words[one["applies"]], one["why"]) for one in policies]
    yield render_table(("policy", "applies", "why"), cells, width=call.width)
