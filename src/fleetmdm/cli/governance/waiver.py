"""`fleetmdm waiver add|list|revoke`: risks that somebody accepts, for a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from clikit.table import render_table, show_text
from fleetmdm.cli.governance.scopes import parse_scope, scope_options
from fleetmdm.cli.governance.stated import (
    choice_options,
    chosen,
    revoke_command,
    state_of,
    statement_document,
)
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.engines.statements import Approved, approve_waivers, review_waivers
from fleetmdm.errors import FleetError
from fleetmdm.governance.expiry import end_of_day, parse_day
from fleetmdm.governance.findings import WaiverFinding
from fleetmdm.governance.statements import Waiver
from fleetmdm.policy_yaml.waivers import WaiverRequest, parse_waivers
from fleetmdm.policy_yaml.yaml_tree import MAX_FILE_BYTES

_NEEDED = ("policy", "reason", "risk_owner", "approver", "expires", "zone")


@click.group()
def command() -> None:
    """Accept risks for a time: a waiver never hides a verdict, it stands beside it."""


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--policy", metavar="ID", help="The policy that is waived.")
@scope_options
@click.option("--reason", metavar="TEXT", help="Why the risk is accepted.")
@click.option("--risk-owner", metavar="NAME", help="Who answers for the risk.")
@click.option("--approver", metavar="NAME", help="Who approves it.")
@click.option("--expires", metavar="DAY", help="The last day, such as 2026-12-31.")
@click.option("--zone", metavar="NAME", help="Where that day ends, such as Europe/Berlin.")
@click.option("--compensating-control", default="", metavar="TEXT", help="What helps meanwhile.")
@click.option("--id", "waiver_id", default="", metavar="ID", help="Its id [W1, W2, ...].")
@fleet_options()
def add(call: FleetCall, paths: Sequence[Path], **options: Any) -> None:
    """Add waivers from files, or one from options. Its devices are frozen now."""
    requests = [one for path in paths for one in parse_waivers(_read(path), name=str(path))]
    if not paths:
        requests = [_request(options)]
    elif any(options[name] for name in (*_NEEDED, "device_id", "tag", "where")):
        raise FleetError("usage", "name files or give options, not both")
    with call.open_store() as store:
        made = approve_waivers(store, requests, now=call.now())
    call.emit({"added": [_added(one) for one in made]}, lambda: map(_told, made))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise FleetError("input_not_found", f"no such file: {path}") from None
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error


def _request(options: dict[str, Any]) -> WaiverRequest:
    missing = [name for name in _NEEDED if not (options[name] or "").strip()]
    if missing:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise FleetError("usage", f"a waiver needs {names}", hint="or name a file of waivers")
    try:
        day = parse_day(options["expires"])
        end_of_day(day, options["zone"])
    except ValueError as error:
        raise FleetError("usage", f"--expires, --zone: {error}") from None
    return WaiverRequest(
        id=options["waiver_id"],
        policy_id=options["policy"],
        scope=parse_scope(options["device_id"], options["tag"], options["where"]),
        reason=options["reason"],
        risk_owner=options["risk_owner"],
        approver=options["approver"],
        expires=day,
        zone=options["zone"],
        compensating_control=options["compensating_control"],
    )


def _added(one: Approved) -> dict[str, Any]:
    return {**one.waiver.as_json(), "undecided_devices": list(one.undecided)}


def _told(one: Approved) -> str:
    waiver = one.waiver
    unsure = f"; {len(one.undecided)} cannot be told and are not covered" if one.undecided else ""
    return (
        show_text(
            f"{waiver.id}: {waiver.policy_id} is waived on {len(waiver.device_ids)} devices "
            f"until the end of {waiver.expires} ({waiver.zone}){unsure}"
        )
        + "\n"
    )


@command.command("list")
@choice_options
@click.option("--findings", is_flag=True, help="What is wrong with them; exit 1 where anything is.")
@list_options
@fleet_options()
def list_waivers(
    call: FleetCall,
    *,
    policy_id: str | None,
    device_id: str | None,
    everything: bool,
    findings: bool,
    listing: Listing,
) -> None:
    """List waivers, expired ones included, by id."""
    now = call.now()
    with call.open_store() as store:
        waivers = chosen(store.waivers(revoked=everything), policy_id, device_id)
        wrong = review_waivers(store, _live(waivers), now=now) if findings else []
    waivers = listing.choose(call, waivers, lambda one: statement_document(one, now))
    data: dict[str, Any] = {"waivers": [statement_document(one, now) for one in waivers]}
    if findings:
        data["findings"] = [one.as_json() for one in wrong]
    call.emit(data, lambda: _text(call, waivers, wrong, now), found=_failure(wrong))


def _live(waivers: Sequence[Waiver]) -> list[Waiver]:
    return [one for one in waivers if one.revocation is None]


def _text(
    call: FleetCall, waivers: Sequence[Waiver], wrong: Sequence[WaiverFinding], now: datetime
) -> Iterator[str]:
    headers = ("id", "policy", "scope", "devices", "last day", "zone", "state", "owner", "reason")
    cells = [
        (
            one.id,
            one.policy_id,
            str(one.scope),
            len(one.device_ids),
            one.expires.isoformat(),
            one.zone,
            state_of(one, now),
            one.risk_owner,
            one.reason,
        )
        for one in waivers
    ]
    yield render_table(headers, cells, width=call.width) if cells else "no waiver\n"
    for finding in wrong:
        yield show_text(f"{finding.waiver_id}: {finding.message} [{finding.code}]") + "\n"


def _failure(wrong: Sequence[WaiverFinding]) -> FleetError | None:
    if not wrong:
        return None
    return FleetError("waiver_findings", f"findings about waivers: {len(wrong)}")


command.add_command(
    revoke_command(Waiver, "Take a waiver back; past runs keep it, and its id is not used again.")
)
