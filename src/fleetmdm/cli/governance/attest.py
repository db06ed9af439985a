"""`fleetmdm attest add|list|revoke`: answers that no fact can give."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
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
from fleetmdm.engines.statements import AttestationRequest, attest
from fleetmdm.errors import FleetError
from fleetmdm.evaluate.operators.times import parse_duration
from fleetmdm.governance.statements import Answer, Attestation
from fleetmdm.rfc3339 import encode_time


@click.group()
def command() -> None:
    """Answer policies that only a person can answer."""


@command.command()
@click.argument("policy_id", metavar="POLICY")
@scope_options
@click.option(
    "--answer",
    type=click.Choice([each.value for each in Answer]),
    required=True,
    help="The answer.",
)
@click.option("--statement", required=True, metavar="TEXT", help="What was looked at, and how.")
@click.option("--by", "attested_by", required=True, metavar="NAME", help="Who vouches for it.")
@click.option("--valid-for", metavar="DURATION", help="Such as 30d [the policy's period].")
@click.option("--id", "attestation_id", default="", metavar="ID", help="Its id [A1, A2, ...].")
@fleet_options()
def add(call: FleetCall, policy_id: str, **options: Any) -> None:
    """Answer a policy for some devices, which are frozen now; it goes stale after its period."""
    for name in ("statement", "attested_by"):
        if not options[name].strip():
            raise FleetError("usage", "--statement and --by take a text that is not empty")
    request = AttestationRequest(
        policy_id=policy_id,
        scope=parse_scope(options["device_id"], options["tag"], options["where"]),
        answer=Answer(options["answer"]),
        statement=options["statement"],
        attested_by=options["attested_by"],
        valid_for=_duration(options["valid_for"]),
        id=options["attestation_id"],
    )
    with call.open_store() as store:
        made = attest(store, request, now=call.now())
    said = (
        f"{made.id}: {made.answer} for {made.policy_id} on {len(made.device_ids)} devices "
        f"until {encode_time(made.stale_at)}"
    )
    call.emit(statement_document(made, call.now()), lambda: [show_text(said) + "\n"])


def _duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise FleetError("usage", f"--valid-for: {error}") from None


@command.command("list")
@choice_options
@list_options
@fleet_options()
def list_attestations(
    call: FleetCall,
    *,
    policy_id: str | None,
    device_id: str | None,
    everything: bool,
    listing: Listing,
) -> None:
    """List attestations, stale ones included, by id."""
    with call.open_store() as store:
        found = chosen(store.attestations(revoked=everything), policy_id, device_id)
    now = call.now()
    found = listing.choose(call, found, lambda one: statement_document(one, now))
    call.emit(
        {"attestations": [statement_document(one, now) for one in found]},
        lambda: [_table(call, found, now) if found else "no attestation\n"],
    )


def _table(call: FleetCall, found: Sequence[Attestation], now: datetime) -> str:
    headers = ("id", "policy", "scope", "devices", "answer", "by", "until", "state", "statement")
    cells = [
        (
            one.id,
            one.policy_id,
            str(one.scope),
            len(one.device_ids),
            one.answer.value,
            one.attested_by,
            encode_time(one.stale_at),
            state_of(one, now),
            one.statement,
        )
        for one in found
    ]
    return render_table(headers, cells, width=call.width)


command.add_command(revoke_command(Attestation, "Take an attestation back; past runs keep it."))
