"""`fleetmdm errors`: the documented failure taxonomy."""

from __future__ import annotations

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import CODES


@click.command()
@fleet_options()
def command(call: FleetCall) -> None:
    """Print every error code with its exit status and meaning."""
    rows = sorted(CODES, key=lambda row: row.code)
    data = [
        {"code": row.code, "exit_status": int(row.exit_status), "meaning": row.meaning}
        for row in rows
    ]
    call.emit(
        data,
        lambda: [
            render_table(
                ("code", "exit", "meaning"),
                [(row.code, int(row.exit_status), row.meaning) for row in rows],
                width=call.width,
            )
        ],
    )
