"""`fleetmdm evidence redact`: a further view of a pack, made without the signing key."""

from __future__ import annotations

from pathlib import Path

import click

from fleetmdm.cli.session import FleetCall, fleet_options


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    type=click.Choice(("none", "minimal", "strict")),
    default="strict",
    show_default=True,
    help="What the new view may show.",
)
@fleet_options(
    output=("PACK", "The folder, or the .tar.zst file, to write, complete or not at all.")
)
def command(call: FleetCall, pack: Path, profile: str) -> None:
    """Write a view of PACK that shows less, as a new folder at --output.

    The signatures over the manifest still hold and prove the view; none covers its SHA256SUMS.
    """
    from fleetmdm.evidence.pack.derive import derive_view
    from fleetmdm.evidence.redact import Profile

    output, call.output = call.output, None
    if output is None:
        raise click.UsageError("--output PACK is needed: the folder or .tar.zst file to write")
    derived = derive_view(pack, output, Profile(profile))
    opened = sum(shown.opened for shown in derived.shown.values())
    hidden = sum(shown.hidden for shown in derived.shown.values())
    data = {
        "pack": str(output),
        "redaction_profile": derived.profile.value,
        "manifest_sha256": derived.manifest_sha256,
        "fields": {"opened": opened, "hidden": hidden},
    }
    text = f"view with profile {derived.profile} written to {output}: {opened} fields shown, {hidden} withheld\n"
    call.emit(data, lambda: [text])
