"""`fleetmdm schema`: the published shapes of what goes in and out."""

from __future__ import annotations

import click

from fleetmdm.cli.inventory.group import schema as inventory_command


@click.group()
def command() -> None:
    """Print the JSON Schemas of what FleetMDM reads and writes."""


command.add_command(inventory_command, "inventory")
