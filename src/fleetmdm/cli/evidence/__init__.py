"""`fleetmdm evidence`: the group; each command is a module of its own."""

from __future__ import annotations

from clikit.command.group import LazyGroup

command = LazyGroup(
    "evidence",
    table={
        "export": ("fleetmdm.cli.evidence.export:command", "Write a run as a signed pack."),
        "verify": ("fleetmdm.cli.evidence.verify:command", "Check a pack, byte by byte."),
        "show": ("fleetmdm.cli.evidence.show:command", "Show what a pack says of itself."),
        "redact": ("fleetmdm.cli.evidence.redact:command", "Derive a view that shows less."),
        "replay": ("fleetmdm.cli.evidence.sample:replay", "Judge a pack again."),
        "sample": ("fleetmdm.cli.evidence.sample:sample", "Draw devices to look at again."),
        "reveal": ("fleetmdm.cli.evidence.reveal:command", "Say whom pseudonyms stand for."),
        "cosign": ("fleetmdm.cli.evidence.cosign:cosign", "Add a signature to a pack."),
        "timestamp": ("fleetmdm.cli.evidence.cosign:timestamp", "Add a time-stamp token."),
        "keygen": ("fleetmdm.cli.evidence.key.make:keygen", "Make a signing key."),
        "key": ("fleetmdm.cli.evidence.key:command", "Keep the signing keys."),
    },
    help="Export runs as packs that anyone can verify, and verify them.",
)
