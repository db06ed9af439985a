"""`fleetmdm evidence key revoke` and `fleetmdm evidence key import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetmdm.cli.evidence.key.ring import (
    check_reason,
    keyring_folder,
    keyring_option,
    parse_moment,
    record,
)
from fleetmdm.cli.evidence.signing import read_key_file
from fleetmdm.cli.evidence.trusting import load_allowed_signers, load_revocation_list
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone.
    from datetime import datetime

    from fleetmdm.evidence.keyring.model import KeyEntry, Keyring

_PATH = click.Path(path_type=Path)


@click.command("revoke")
@click.argument("key")
@click.option("--reason", required=True, help="Why; it is told to every verifier.")
@click.option("--at", "since", metavar="TIME", help="Not good since this time, RFC 3339 [now].")
@keyring_option
@fleet_options()
def revoke(
    call: FleetCall, key: str, reason: str, since: str | None, keyring_dir: Path | None
) -> None:
    """Take KEY, by its name or fingerprint, out of use, and say so in the ledger.

    What it signed provably before that time (a time-stamp token says so) can still be accepted,
    and is reported as such; nothing else of it is.
    """
    from fleetmdm.evidence.keyring.folder import load_keyring, save_keyring
    from fleetmdm.evidence.keyring.model import describe_entry

    folder, now = keyring_folder(call, keyring_dir), call.now().replace(microsecond=0)
    at = now if since is None else parse_moment(since, "--at")
    if at > now:
        raise FleetError("usage", "--at lies in the future", hint="a revocation is for the past")
    changed = load_keyring(folder).revoke(key, at=at, reason=check_reason(reason))
    entry = changed.find(key)
    record(call, entry, "revoked", at=at, reason=reason)
    save_keyring(folder, changed)
    text = f"{entry.name} ({entry.fingerprint}) is revoked since {at.isoformat()}\n"
    call.emit(describe_entry(entry), lambda: [text])


@click.command("import")
@click.argument("file", type=_PATH)
@click.option("--name", help="The name of the one key in FILE, a public key.")
@click.option("--principal", default="evidence", show_default=True, help="Its name for verifiers.")
@click.option("--krl", is_flag=True, help="FILE lists revoked keys (ssh-keygen -k).")
@click.option("--reason", default="it stands in an imported revocation list", show_default=True)
@keyring_option
@fleet_options()
def take_in(
    call: FleetCall,
    file: Path,
    name: str | None,
    principal: str,
    reason: str,
    keyring_dir: Path | None,
    *,
    krl: bool,
) -> None:
    """Take in a public key (--name), an allowed signers file, or a key revocation list (--krl)."""
    from fleetmdm.evidence.keyring.folder import load_keyring, save_keyring
    from fleetmdm.evidence.keyring.model import describe_entry

    folder, now = keyring_folder(call, keyring_dir), call.now().replace(microsecond=0)
    keyring = load_keyring(folder, create=not krl)
    if krl:
        changed, entries = _revoke_listed(keyring, file, at=now, reason=check_reason(reason))
    else:
        entries = _read_entries(keyring, file, name, principal, now)
        changed = keyring
        for entry in entries:
            changed = changed.add(entry)
    for entry in entries:
        record(call, entry, "revoked" if krl else "imported", at=now, reason=reason if krl else "")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    save_keyring(folder, changed)
    verb = "revoked" if krl else "taken in"
    text = "".join(f"{entry.name} ({entry.fingerprint}) {verb}\n" for entry in entries)
    call.emit([describe_entry(entry) for entry in entries], lambda: [text or "nothing to do\n"])


def _revoke_listed(
    keyring: Keyring, file: Path, *, at: datetime, reason: str
) -> tuple[Keyring, list[KeyEntry]]:
    revoked = load_revocation_list(file)
    listed = [
        each for each in keyring.entries if each.revoked is None and revoked.revokes(each.key)
    ]
    for entry in listed:
        keyring = keyring.revoke(entry.fingerprint, at=at, reason=reason)
    return keyring, [keyring.find(entry.fingerprint) for entry in listed]


def _read_entries(
    keyring: Keyring, file: Path, name: str | None, principal: str, now: datetime
) -> list[KeyEntry]:
    from fleetmdm.evidence.keyring.model import KeyEntry, entries_of
    from sshwire.errors import WireError
    from sshwire.pubkey import parse_public_line

    if name is None:
        names = (f"key-{number}" for number in range(len(keyring.entries) + 1, 1_000_000))
        entries = entries_of(load_allowed_signers(file), names=names, now=now)
        known = {entry.fingerprint for entry in keyring.entries}
        return [entry for entry in entries if entry.fingerprint not in known]
    try:
        key, _comment = parse_public_line(read_key_file(file).decode())
    except (WireError, UnicodeDecodeError) as error:
        raise FleetError("input_unreadable", f"{file}: {error}") from error
    return [KeyEntry(name, principal, key, now)]
