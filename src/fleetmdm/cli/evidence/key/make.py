"""`fleetmdm evidence keygen` and `fleetmdm evidence key rotate`: new keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetmdm.cli.evidence.key.ring import keyring_folder, keyring_option, record
from fleetmdm.cli.session import FleetCall, fleet_options

if TYPE_CHECKING:
    # Imported for its name alone.
    from fleetmdm.evidence.keyring.model import KeyEntry

_KINDS = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-3072", "rsa-4096")
_kind = click.option(
    "--type", "kind", type=click.Choice(_KINDS), default="ed25519", show_default=True
)


@click.command("keygen")
@click.argument("name")
@click.option("--principal", default="evidence", show_default=True, help="Its name for verifiers.")
@_kind
@click.option(
    "--valid-days", type=click.IntRange(1, 36500), metavar="N", help="Let it expire after N days."
)
@keyring_option
@fleet_options()
def keygen(
    call: FleetCall,
    name: str,
    principal: str,
    kind: str,
    valid_days: int | None,
    keyring_dir: Path | None,
) -> None:
    """Make a signing key NAME in the keyring, and say so in the ledger.

    The private key is a file without a passphrase, readable by its owner alone. A key in an SSH
    agent is safer: make it there, and take its public half in with `evidence key import`.
    """
    from fleetmdm.evidence.keyring.folder import load_keyring, make_key, save_keyring, write_key
    from fleetmdm.evidence.keyring.model import KeyEntry

    folder, now = keyring_folder(call, keyring_dir), call.now().replace(microsecond=0)
    key = make_key(kind)
    end = None if valid_days is None else now + timedelta(days=valid_days)
    entry = KeyEntry(name, principal, key.public_key, now, valid_after=now, valid_before=end)
    grown = load_keyring(folder, create=True).add(entry)
    with call.open_store():
        path = write_key(folder, name, key)
    record(call, entry, "created", at=now)
    save_keyring(folder, grown)
    _tell(call, entry, path)


@click.command("rotate")
@click.argument("old")
@click.argument("new")
@_kind
@click.option(
    "--overlap-days",
    type=click.IntRange(0, 3650),
    default=30,
    show_default=True,
    help="How long OLD stays valid beside NEW.",
)
@keyring_option
@fleet_options()
def rotate(
    call: FleetCall, old: str, new: str, kind: str, overlap_days: int, keyring_dir: Path | None
) -> None:
    """Put a new key NEW in the place of OLD, which stays valid for the overlap."""
    from fleetmdm.evidence.keyring.folder import load_keyring, make_key, save_keyring, write_key
    from fleetmdm.evidence.keyring.model import KeyEntry

    folder, now = keyring_folder(call, keyring_dir), call.now().replace(microsecond=0)
    keyring = load_keyring(folder)
    replaced = keyring.find(old)
    key = make_key(kind)
    entry = KeyEntry(new, replaced.principal, key.public_key, now)
    rotated = keyring.rotate(old, entry, now=now, overlap=timedelta(days=overlap_days))
    with call.open_store():
        path = write_key(folder, new, key)
    record(call, replaced, "rotated", at=now, reason=f"replaced by {entry.fingerprint}")
    record(call, entry, "created", at=now)
    save_keyring(folder, rotated)
    _tell(call, replace(entry, valid_after=now), path)


def _tell(call: FleetCall, entry: KeyEntry, path: Path) -> None:
    from fleetmdm.evidence.keyring.model import describe_entry

    data = {**describe_entry(entry), "private_key": str(path)}
    text = f"{entry.name}: {entry.fingerprint}\n  private key {path}, public key {path}.pub\n"
    call.emit(data, lambda: [text])
