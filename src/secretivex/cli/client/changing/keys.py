"""`secretive-client add` and `remove`: keys that an agent holds at its clients' word."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from agentclient.errors import AgentRefused
from clikit.table import show_text
from secretivex.cli.client.changing.lock import REFUSED_HINT, read_passphrase
from secretivex.cli.client.choosing import KeyChoice, key_options
from secretivex.cli.client.keys import listed_key
from secretivex.cli.client.session import ClientCall, client_options
from secretivex.cli.ssh_form.shell import parse_life
from secretivex.errors import SecretiveError
from secretivex.stores.key_files import Candidate, ClosedError, SkippedError, load_key
from sshwire.agent.constraints import Constraints
from sshwire.agent.replies import Identity
from sshwire.agent.requests import AddRequest, RemoveAllRequest, RemoveRequest
from sshwire.privkey import PrivateKey, encode_private_fields
from sshwire.wire import encode_text


@click.command("add")
@client_options(timeout_ms=10_000)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--lifetime", metavar="TIME", help="Forget the key after this time: 90, 10m, 1h30m.")
@click.option("--confirm", is_flag=True, help="Have a person asked before every use.")
@click.option("--name", metavar="TEXT", help="Comment to hold the key under, instead of its own.")
def add(
    call: ClientCall, *, file: Path, lifetime: str | None, confirm: bool, name: str | None
) -> None:
    """Have the agent hold the private key in FILE, until it ends or the key is removed.

    The passphrase of an encrypted key is asked for at a terminal, else it is the first line of
    standard input.
    """
    constraints = Constraints(_life(lifetime), confirm)
    key = load_private(file)
    comment = key.comment if name is None else name
    name_bytes = len(encode_text(key.public.algorithm))
    fields = encode_private_fields(key)[name_bytes:]
    with call.agent() as agent:
        try:
            agent.perform(AddRequest(key.public.algorithm, fields, comment, constraints))
        except AgentRefused as error:
            reason = "the agent would not hold the key"
            raise SecretiveError("change_refused", reason, hint=REFUSED_HINT) from error
    added = listed_key(Identity(key.public.blob, comment))
    call.emit(added.to_json(), lambda: [f"added {show_text(f'{added.fingerprint} {comment}')}\n"])


def _life(text: str | None) -> int | None:
    """Seconds; nothing is not the same as for ever, which is what leaving it out means."""
    if text is None:
        return None
    try:
        seconds = parse_life(text)
    except ValueError as error:
        raise SecretiveError("usage", f"--lifetime: {error}") from error
    if not seconds:
        hint = "leave it out for a key that stays"
        raise SecretiveError("usage", "--lifetime: at least one second is meant", hint=hint)
    return seconds


def load_private(path: Path) -> PrivateKey:
    """The key in a file, which must be ours alone; asks for a passphrase if it needs one."""
    if not path.exists():
        raise SecretiveError("input_not_found", f"there is no file {path}")
    if sys.platform == "win32":
        message = f"{path}: whether others can read it cannot be judged on Windows yet"
        raise SecretiveError("input_unreadable", message, hint="use ssh-add.exe")
    candidate = Candidate(path, is_named=True)
    try:
        return load_key(candidate, (), os.geteuid()).keys[0]
    except ClosedError:
        passphrase = read_passphrase(f"Passphrase of {path}: ")
    except SkippedError as error:
        raise SecretiveError("input_unreadable", f"{path}: {error}") from error
    try:
        return load_key(candidate, (passphrase,), os.geteuid()).keys[0]
    except SkippedError as error:
        raise SecretiveError("input_unreadable", f"{path}: {error}") from error


@click.command("remove")
@client_options(timeout_ms=10_000)
@key_options
@click.option("--all", "is_all", is_flag=True, help="Remove every key.")
def remove(call: ClientCall, *, choice: KeyChoice, is_all: bool) -> None:
    """Have the agent forget one key, or with --all every key; files stay as they are."""
    if is_all and choice.is_made:
        raise SecretiveError("usage", "--all goes with no choice of a key")
    if not is_all:
        choice.check()
    with call.agent() as agent:
        keys = [listed_key(identity) for identity in agent.identities()]
        gone = keys if is_all else [choice.find(keys)]
        request = RemoveAllRequest() if is_all else RemoveRequest(gone[0].blob)
        try:
            agent.perform(request)
        except AgentRefused as error:
            reason = f"the agent would not remove {'them' if is_all else 'it'}"
            raise SecretiveError("change_refused", reason, hint=REFUSED_HINT) from error
    lines = [f"removed {show_text(f'{key.fingerprint} {key.comment}')}\n" for key in gone]
    call.emit({"removed": [key.to_json() for key in gone]}, lambda: lines)
