"""`fleetmdm evidence`: the group; each command is a module of its own."""

from __future__ import annotations

from clikit.command import LazyGroup

command = LazyGroup(
    "evidence",
    table={
        "export": ("fleetmdm.cli.evidence.export:command", "Write a run as a signed pack."),
        "redact": ("fleetmdm.cli.evidence.redact:command", "Derive a view that shows less."),
        "verify": ("fleetmdm.cli.evidence.verify:command", "Check a pack, byte by byte."),
    },
    help="Export runs as packs that anyone can verify, and verify them.",
)
