"""`secretive-client keys`: make, take over, remove and show keys of the stores that can.

Rule for editors: a private key is read from a file or made by its store, never taken from an argument.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clikit.command import Call, standard_options
from clikit.command.group import LazyGroup
from clikit.table import show_text
from secretivex.cli.client.storing.chosen import as_failure, choose_store, store_options
from secretivex.cli.client.storing.makers import Maker, maker_of
from secretivex.errors import SecretiveError
from secretivex.stores.kinds import open_store
from secretivex.stores.token.errors import TokenError
from sshwire.pubkey import encode_public_line, parse_public_key

_HERE = "secretivex.cli.client.storing.keys"
_TABLE = {
    "create": (f"{_HERE}:create", "Make a key in a store."),
    "import": (f"{_HERE}:import_key", "Seal a key that was made elsewhere."),
    "delete": (f"{_HERE}:delete", "Remove a key from a store for ever."),
    "export-public": (f"{_HERE}:export_public", "Print a store's public keys."),
}

command = LazyGroup("keys", table=_TABLE, help="Make, take over, remove and show keys of stores.")


def _maker(call: Call, config: Path | None, store: str, action: str) -> Maker:
    chosen = choose_store(call, config, store)
    maker = maker_of(chosen)
    if maker is None or action not in maker.actions:
        kind = chosen.setup.kind
        message = f"{action} is not for stores of type {kind}"
        raise SecretiveError("store_cannot", message, hint=_HINTS.get(kind, ""))
    return maker


_HINTS = {
    "file": "ssh-keygen makes and changes key files",
    "pkcs11": "pkcs11-tool --keypairgen makes keys in tokens; the agent sees them by itself",
    "secure_enclave": "keys are born in the Enclave: keys create",
}


@click.command("create")
@standard_options(formats=("text", "json"))
@store_options
@click.option("--label", required=True, metavar="TEXT", help="The key's name, and its comment.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(("p256", "rsa2048")),
    default="p256",
    show_default=True,
    help="What kind of key.",
)
@click.option(
    "--access",
    type=click.Choice(("none", "user-presence", "biometry")),
    default="user-presence",
    show_default=True,
    help="Who must be there when a key of the Secure Enclave signs.",
)
def create(
    call: Call, *, config: Path | None, store: str, label: str, kind: str, access: str
) -> None:
    """Make a key in a TPM or a Secure Enclave; prints its public half."""
    maker = _maker(call, config, store, "create")
    try:
        line = maker.create(label, kind, access)
    except TokenError as error:
        raise as_failure(error) from error
    call.emit({"openssh": line, "store": store}, lambda: [show_text(line) + "\n"])


@click.command("import")
@standard_options(formats=("text", "json"))
@store_options
@click.option("--label", required=True, metavar="TEXT", help="The key's name, and its comment.")
@click.argument("file", type=click.Path(path_type=Path))
def import_key(call: Call, *, config: Path | None, store: str, label: str, file: Path) -> None:
    """Seal the private key in FILE with a TPM; FILE itself stays as it is."""
    maker = _maker(call, config, store, "import")
    from secretivex.cli.client.changing.keys import load_private

    key = load_private(file)
    try:
        line = maker.take_over(label, key)
    except TokenError as error:
        raise as_failure(error) from error
    call.emit({"openssh": line, "store": store}, lambda: [show_text(line) + "\n"])


@click.command("delete")
@standard_options(formats=("text", "json"))
@store_options
@click.option("--label", required=True, metavar="TEXT", help="The key's name.")
@click.option("--yes", is_flag=True, help="Really: the key cannot be had back.")
def delete(call: Call, *, config: Path | None, store: str, label: str, yes: bool) -> None:
    """Remove a key from a TPM's folder or a Secure Enclave for ever."""
    maker = _maker(call, config, store, "delete")
    if not yes:
        raise SecretiveError("usage", f"{label} would be gone for ever", hint="add --yes")
    try:
        maker.delete(label)
    except TokenError as error:
        raise as_failure(error) from error
    call.emit({"deleted": label, "store": store}, lambda: [f"deleted {show_text(label)}\n"])


@click.command("export-public")
@standard_options(formats=("text", "json"))
@store_options
@click.option("--label", metavar="TEXT", help="Only the key of this name.")
def export_public(call: Call, *, config: Path | None, store: str, label: str | None) -> None:
    """Print a store's public keys as lines of a .pub file, in its order."""
    setup = choose_store(call, config, store).setup
    try:
        opened: Any = open_store(setup)
        try:
            opened.refresh()
            found = [one for one in opened.identities() if label in (None, one.comment)]
            health = opened.health()
        finally:
            if hasattr(opened, "close"):
                opened.close()
    except TokenError as error:
        raise as_failure(error) from error
    if not found:
        if not health.is_well:
            raise SecretiveError("store_unavailable", health.reason, hint=health.remedy)
        raise SecretiveError("key_not_found", f"the store has no key {label or 'at all'}")
    lines = [encode_public_line(parse_public_key(one.key_blob), one.comment) for one in found]
    call.emit(
        {"openssh": lines, "store": store}, lambda: [show_text(line) + "\n" for line in lines]
    )
