"""`fleetmdm ledger`: the append-only log of runs and exports."""

from __future__ import annotations

from clikit.command.group import LazyGroup

command = LazyGroup(
    "ledger",
    table={
        "show": ("fleetmdm.cli.ledger.commands:show", "List the newest leaves."),
        "verify": ("fleetmdm.cli.ledger.commands:verify", "Replay the log against the runs."),
    },
    help="Show and verify the append-only log of runs and exports.",
)
