"""`fleetmdm export-collector`: the stand-alone exporter, to be copied to a host."""

from __future__ import annotations

import click

from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.exporters.bundle import PLATFORMS, stand_alone


@click.command()
@click.argument("platform", type=click.Choice(PLATFORMS))
@fleet_options(formats=("python", "json"))
def command(call: FleetCall, platform: str) -> None:
    """Print the stand-alone exporter for PLATFORM.

    It is one readable Python file that needs the standard library alone (Python 3.6 or later).
    Run it on the host, as root for every fact, and give what it prints to `fleetmdm ingest`.
    """
    source = stand_alone(platform)
    call.emit({"platform": platform, "source": source}, lambda: [source])
