"""`fleetmdm evidence key list` and `fleetmdm evidence key export`."""

from __future__ import annotations

from pathlib import Path

import click

from clikit.output import write_atomic
from clikit.table import render_table
from fleetmdm.cli.evidence.key.ring import keyring_folder, keyring_option
from fleetmdm.cli.session import FleetCall, fleet_options

_HEADERS = ("name", "state", "algorithm", "valid after", "valid before", "fingerprint")


@click.command("list")
@keyring_option
@fleet_options()
def list_keys(call: FleetCall, keyring_dir: Path | None) -> None:
    """List every key of the keyring, oldest first, with its state."""
    from fleetmdm.evidence.keyring.folder import load_keyring
    from fleetmdm.evidence.keyring.model import describe_entry

    keyring = load_keyring(keyring_folder(call, keyring_dir))
    now = call.now()
    rows = [{**describe_entry(each), "state": each.state(now)} for each in keyring.entries]
    table = [
        (
            each.name,
            each.state(now),
            each.key.algorithm,
            row["valid_after"] or "",
            row["valid_before"] or "",
            each.fingerprint,
        )
        for each, row in zip(keyring.entries, rows, strict=True)
    ]
    call.emit(rows, lambda: [render_table(_HEADERS, table, width=call.width)])


@click.command("export")
@click.option(
    "--form",
    type=click.Choice(("allowed-signers", "krl")),
    default="allowed-signers",
    show_default=True,
    help="What is written.",
)
@keyring_option
@fleet_options(("text", "json"))
def export(call: FleetCall, form: str, keyring_dir: Path | None) -> None:
    """Write the keyring as allowed signers, or its revoked keys as a KRL (binary, --output)."""
    from fleetmdm.evidence.keyring.folder import load_keyring
    from fleetmdm.evidence.keyring.model import render_allowed_signers, render_krl

    keyring = load_keyring(keyring_folder(call, keyring_dir))
    if form == "allowed-signers":
        text = render_allowed_signers(keyring)
        call.emit({"allowed_signers": text}, lambda: [text])
        return
    output, call.output = call.output, None
    if output is None:
        raise click.UsageError("--form krl needs --output FILE: it is binary")
    write_atomic(output, [render_krl(keyring, now=call.now())], mode=0o644)
    revoked = len(keyring.revocations())
    call.emit({"krl": str(output), "revoked": revoked}, lambda: [f"{revoked} keys in {output}\n"])
