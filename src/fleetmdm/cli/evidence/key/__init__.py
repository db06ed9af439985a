"""`fleetmdm evidence key`: the keyring of signing keys."""

from __future__ import annotations

from clikit.command.group import LazyGroup

command = LazyGroup(
    "key",
    table={
        "list": ("fleetmdm.cli.evidence.key.read:list_keys", "List the keys and their states."),
        "rotate": ("fleetmdm.cli.evidence.key.make:rotate", "Put a new key in a key's place."),
        "revoke": ("fleetmdm.cli.evidence.key.change:revoke", "Take a key out of use."),
        "import": ("fleetmdm.cli.evidence.key.change:take_in", "Take in public keys."),
        "export": ("fleetmdm.cli.evidence.key.read:export", "Write allowed signers or a KRL."),
    },
    help="Keep the keys that sign evidence: list, rotate, revoke, exchange.",
)
