"""`fleetmdm config show`: each setting with the layer it came from."""

from __future__ import annotations

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options


@click.group()
def command() -> None:
    """Show the settings in force."""


@command.command()
@fleet_options()
def show(call: FleetCall) -> None:
    """Print every setting, its value and where it comes from."""
    resolved = call.settings()
    data = {key: {"value": item.value, "origin": item.origin} for key, item in resolved.items()}
    call.emit(
        data,
        lambda: [
            render_table(
                ("key", "value", "origin"),
                [(key, item.value, item.origin) for key, item in resolved.items()],
                width=call.width,
            )
        ],
    )
