"""`secretive-client sign`: one raw signature over some bytes.

For a signature that says what it is for, `ssh-keygen -Y sign` with the same agent makes an SSHSIG.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from secretivex.cli.client.choosing import KeyChoice, key_options
from secretivex.cli.client.keys import ListedKey, listed_key
from secretivex.cli.client.session import ClientCall, client_options
from secretivex.errors import SecretiveError
from sshwire.agent.numbers import MAX_FRAME_BYTES, SignFlag

_FLAGS = {
    "sha256": SignFlag.RSA_SHA2_256,
    "rsa-sha2-256": SignFlag.RSA_SHA2_256,
    "sha512": SignFlag.RSA_SHA2_512,
    "rsa-sha2-512": SignFlag.RSA_SHA2_512,
}


@click.command("sign")
@client_options(timeout_ms=60_000)
@key_options
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What to sign; standard input when it is left out or is `-`.",
)
@click.option(
    "--flags",
    default="0",
    show_default=True,
    metavar="FLAGS",
    help="For RSA keys: a number, or rsa-sha2-256 or rsa-sha2-512.",
)
def command(
    call: ClientCall,
    *,
    choice: KeyChoice,
    data: Path | None,
    flags: str,
) -> None:
    """Sign bytes with one key of the agent; exactly one of --key, --fingerprint, --comment."""
    choice.check()
    number, message = _parse_flags(flags), read_input(data)
    with call.agent() as agent:
        keys = [listed_key(identity) for identity in agent.identities()]
        if not keys and _is_locked(agent.address, timeout_s=call.response_timeout_ms / 1000):
            raise SecretiveError("sign_refused", "the agent is locked", hint=_UNLOCK)
        chosen = choice.find(keys)
        _check_room(message, chosen)
        blob = agent.sign(chosen.blob, message, number)
    algorithm, raw = _take_apart(blob)
    result = {
        "algorithm": algorithm,
        "comment": chosen.comment,
        "fingerprint": chosen.fingerprint,
        "signature_blob_hex": blob.hex(),
        "signature_hex": raw.hex(),
    }
    call.emit(result, lambda: [f"algorithm: {algorithm}\nsignature: {raw.hex()}\n"])


_UNLOCK = "`secretive-client unlock` opens it"


def _is_locked(address: str, *, timeout_s: float) -> bool:
    """Whether an agent of ours says that it is locked; it then lists no key."""
    from secretivex.cli.client.health import ask_own
    from secretivex.server.report.control_socket import control_path

    own = ask_own(control_path(Path(address)), timeout_s=timeout_s)
    return own is not None and own.get("locked") is True


def _parse_flags(text: str) -> int:
    if text.lower() in ("ssh-rsa", "sha1"):
        raise SecretiveError(
            "usage",
            "no flag asks for SHA-1: without flags it is the agent that chooses",
            hint="use rsa-sha2-256 or rsa-sha2-512",
        )
    if text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    if text.isascii() and text.isdigit() and int(text) <= 0xFFFFFFFF:
        return int(text)
    raise SecretiveError("usage", f"unknown flags {text!r}", hint=f"known: {', '.join(_FLAGS)}")


def read_input(path: Path | None) -> bytes:
    """The data, or as much as shows that they are too long for any agent."""
    try:
        if path is None or str(path) == "-":
            data = sys.stdin.buffer.read(MAX_FRAME_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_FRAME_BYTES + 1)
    except FileNotFoundError as error:
        raise SecretiveError("input_not_found", f"there is no file {path}") from error
    except OSError as error:
        raise SecretiveError("input_unreadable", f"{path}: {error.strerror}") from error
    return data


def _check_room(data: bytes, key: ListedKey) -> None:
    """A sign request is one frame: a number, three lengths or flags, the key and the data."""
    room = MAX_FRAME_BYTES - 1 - 3 * 4 - len(key.blob)
    if len(data) > room:
        raise SecretiveError(
            "input_unreadable",
            f"more than {room} bytes do not fit into a message to an agent",
            hint="sign a hash of it, as `ssh-keygen -Y sign` does",
        )


def _take_apart(blob: bytes) -> tuple[str, bytes]:
    from sshwire.signature import parse_signature

    signature = parse_signature(blob)
    return signature.format, signature.blob
