"""What the key commands share: where the keyring is, and the ledger's leaf for what they do."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone.
    from datetime import datetime

    from fleetmdm.evidence.keyring.model import KeyEntry

MAX_REASON_CHARS = 500


def keyring_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --keyring-dir."""
    return click.option(
        "--keyring-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The keyring [~/.fleetmdm/keyring].",
    )(function)


def keyring_folder(call: FleetCall, given: Path | None) -> Path:
    """The folder of the keyring."""
    return Path(call.setting("evidence_export.keyring_dir", given)).expanduser()


def record(call: FleetCall, entry: KeyEntry, event: str, *, at: datetime, reason: str = "") -> int:
    """Append what happens to a key to the fleet's ledger; answers the leaf's index."""
    from fleetmdm.ledger.entries import encode_key_leaf

    leaf = encode_key_leaf(
        event=event,
        fingerprint=entry.fingerprint,
        name=entry.name,
        at=at,
        reason=reason,
        tool_version=version("secretivex-fleetmdm"),
    )
    with call.open_store() as store:
        return store.append_leaf(leaf)


def parse_moment(text: str, option: str) -> datetime:
    """An RFC 3339 time of an option; raises `usage`."""
    from fleetmdm.rfc3339 import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise click.BadParameter(f"{option}: {error}") from error


def check_reason(reason: str) -> str:
    """A reason that says something, on one line."""
    if not reason.strip() or len(reason) > MAX_REASON_CHARS or "\n" in reason:
        raise FleetError("usage", f"--reason is one line of at most {MAX_REASON_CHARS} characters")
    return reason
