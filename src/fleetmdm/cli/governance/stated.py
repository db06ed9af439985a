"""What `waiver` and `attest` share: which statements are shown, how, and how one is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import click

from clikit.table import show_text
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.governance.statements import Attestation, Revocation, Statement, Waiver
from fleetmdm.ledger.entries import encode_statement_leaf, statement_sha256

_S = TypeVar("_S", Waiver, Attestation)

_OPTIONS = (
    click.option("--all", "everything", is_flag=True, help="Those that were revoked too."),
    click.option("--device", "device_id", metavar="ID", help="Only those that cover this device."),
    click.option("--policy", "policy_id", metavar="ID", help="Only those of this policy."),
)


def choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --policy, --device and --all."""
    for option in _OPTIONS:
        function = option(function)
    return function


def chosen(statements: Iterable[_S], policy_id: str | None, device_id: str | None) -> list[_S]:
    """Those of a policy and those that cover a device, where these are named."""
    return [
        one
        for one in statements
        if policy_id in {None, one.policy_id} and (device_id is None or device_id in one.device_ids)
    ]


def state_of(one: Statement, now: datetime) -> str:
    """In force, over (a waiver expires, an attestation goes stale), or revoked."""
    if one.revocation is not None:
        return "revoked"
    over = "expired" if isinstance(one, Waiver) else "stale"
    return "in force" if one.ends_at > now else over


def statement_document(one: Statement, now: datetime) -> dict[str, Any]:
    """A statement as machines read it."""
    revocation = one.revocation
    return {
        **one.as_json(),
        "sha256": statement_sha256(one),
        "state": state_of(one, now),
        "revocation": None if revocation is None else revocation.as_json(),
    }


def revoke_command(kind: type[_S], help_text: str) -> click.Command:
    """`revoke ID --by NAME --reason TEXT` for statements of a kind."""

    @click.command("revoke", help=help_text)
    @click.argument("statement_id", metavar="ID")
    @click.option("--by", "revoked_by", required=True, metavar="NAME", help="Who takes it back.")
    @click.option("--reason", required=True, metavar="TEXT", help="Why.")
    @fleet_options()
    def revoke(call: FleetCall, statement_id: str, *, revoked_by: str, reason: str) -> None:
        said = Revocation(call.now(), revoked_by, reason)
        with call.open_store() as store:
            gone = store.revoke_statement(kind, statement_id, said, leaf=encode_statement_leaf)
        document = statement_document(gone, call.now())
        call.emit(document, lambda: [f"{show_text(gone.id)} is revoked\n"])

    return revoke
