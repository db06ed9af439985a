"""`fleetmdm schema`: the published shapes of what goes in and out."""

from __future__ import annotations

import click

from fleetmdm.cli.inventory.group import print_schema
from fleetmdm.cli.inventory.group import schema as inventory_command
from fleetmdm.cli.session import FleetCall, fleet_options


@click.group()
def command() -> None:
    """Print the JSON Schemas of what FleetMDM reads and writes."""


command.add_command(inventory_command, "inventory")


@command.command("policy")
@fleet_options(formats=("raw", "json"))
def policy_command(call: FleetCall) -> None:
    """Print the JSON Schema of a policy document."""
    from fleetmdm.policy_yaml.schema import policy_schema

    print_schema(call, policy_schema())


@command.command("report")
@fleet_options(formats=("raw", "json"))
def report_command(call: FleetCall) -> None:
    """Print the JSON Schema of a report in JSON."""
    from fleetmdm.report.schema import report_schema

    print_schema(call, report_schema())


@command.command("evidence")
@fleet_options(formats=("raw", "json"))
def evidence_command(call: FleetCall) -> None:
    """Print the JSON Schema of the documents of an evidence pack."""
    from fleetmdm.evidence.schema import evidence_schema

    print_schema(call, evidence_schema())
