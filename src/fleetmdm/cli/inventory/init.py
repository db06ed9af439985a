"""`fleetmdm init`: an empty database for a fleet."""

from __future__ import annotations

import click

from fleetmdm.cli.session import FleetCall, fleet_options


@click.command()
@fleet_options()
def command(call: FleetCall) -> None:
    """Make an empty database for a fleet; one that exists is opened, checked and left as it is."""
    path = call.store_path()
    existed = path.exists()
    with call.open_store(create=True) as store:
        devices = store.device_count()
    word = "was there already" if existed else "is ready"
    call.emit(
        {"db": str(path), "created": not existed, "devices": devices},
        lambda: [f"{path} {word} ({devices} devices)\n"],
    )
