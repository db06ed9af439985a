"""`fleetmdm version`."""

from __future__ import annotations

import platform
from importlib.metadata import version

import click

from fleetmdm.cli.session import FleetCall, fleet_options


@click.command()
@fleet_options()
def command(call: FleetCall) -> None:
    """Print the version of FleetMDM and of Python."""
    data = {
        "fleetmdm": version("secretivex-fleetmdm"),
        "python": platform.python_version(),
    }
    call.emit(data, lambda: [f"fleetmdm {data['fleetmdm']} (Python {data['python']})\n"])
