"""`fleetmdm evidence cosign` and `timestamp`: what others add to a pack after its export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fleetmdm.cli.evidence.signing import open_signers, signer_options
from fleetmdm.cli.evidence.trusting import read_trust_file
from fleetmdm.cli.session import FleetCall, fleet_options

_PATH = click.Path(path_type=Path)


@click.command("cosign")
@click.argument("pack", type=_PATH)
@click.option(
    "--role",
    type=click.Choice(("signer", "witness")),
    default="signer",
    show_default=True,
    help="Vouch for the pack, or for having seen the log as it is.",
)
@click.option("--name", default="witness", show_default=True, help="A witness's name in its note.")
@click.option(
    "--since", "older", type=_PATH, metavar="PACK", help="An older pack that the log must continue."
)
@signer_options
@fleet_options()
def cosign(
    call: FleetCall, pack: Path, role: str, name: str, older: Path | None, **keys: Any
) -> None:
    """Add your signature to PACK, once its bytes hold: as a further signer, or as a witness.

    A witness signs the log's checkpoint and keeps the pack, so that it can say the next time
    whether the log still continues what it saw (--since).
    """
    from fleetmdm.evidence.pack.cosign import add_cosignature, add_witness

    if not any(keys[option] for option in ("agent_keys", "key_files", "ring_keys")):
        raise click.UsageError("--agent-key, --signing-key-file or --key is needed")
    with open_signers(call, **keys) as signers:
        if role == "witness":
            names = add_witness(pack, signers, name=name, now=call.now(), older=older)
        else:
            names = add_cosignature(pack, signers, now=call.now(), older=older)
    call.emit({"added": names}, lambda: (f"added {each}\n" for each in names))


@click.command("timestamp")
@click.argument("pack", type=_PATH)
@click.option(
    "--token",
    type=_PATH,
    required=True,
    metavar="FILE",
    help="The answer of a time-stamping authority (RFC 3161) over a signature of the pack.",
)
@fleet_options()
def timestamp(call: FleetCall, pack: Path, token: Path) -> None:
    """Add a time-stamp token to PACK; it must be over one of its signatures of the manifest.

    Ask for one with `openssl ts -query -data PACK/signatures/KEY.manifest.sshsig -sha256 -cert`.
    """
    from fleetmdm.evidence.pack.cosign import add_timestamp
    from fleetmdm.rfc3339 import encode_time

    name, stamp = add_timestamp(pack, read_trust_file(token))
    data = {"added": name, "time": encode_time(stamp.time), "authority": stamp.authority}
    text = f"added {name}: {data['time']} by {stamp.authority}\n"
    call.emit(data, lambda: [text])
