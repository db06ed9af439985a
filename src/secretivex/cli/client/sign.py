"""`secretive-client sign`: one raw signature over some bytes.

For a signature that says what it is for, `ssh-keygen -Y sign` with the same agent makes an SSHSIG.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from secretivex.cli.client.keys import (
    ListedKey,
    find_by_blob,
    find_by_comment,
    find_by_fingerprint,
    listed_key,
    the_one,
)
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
@click.option("--key", metavar="BLOB", help="The key by its blob, in hex or base64.")
@click.option("--fingerprint", metavar="HASH", help="The key by its fingerprint, as SHA256:...")
@click.option("--comment", metavar="TEXT", help="The key by its comment.")
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
    key: str | None,
    fingerprint: str | None,
    comment: str | None,
    data: Path | None,
    flags: str,
) -> None:
    """Sign bytes with one key of the agent; exactly one of --key, --fingerprint, --comment."""
    if sum(map(bool, (key, fingerprint, comment))) != 1:
        raise SecretiveError("usage", "exactly one of --key, --fingerprint and --comment is needed")
    number, message = _parse_flags(flags), _read(data)
    with call.agent() as agent:
        keys = [listed_key(identity) for identity in agent.identities()]
        chosen = _choose(keys, key, fingerprint, comment)
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


def _choose(
    keys: list[ListedKey], key: str | None, fingerprint: str | None, comment: str | None
) -> ListedKey:
    if key:
        return the_one(find_by_blob(keys, key), wanted="this blob")
    if fingerprint:
        found = find_by_fingerprint(keys, fingerprint)
        return the_one(found, wanted=f"fingerprint {fingerprint}")
    return the_one(find_by_comment(keys, comment or ""), wanted=f"comment {comment!r}")


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


def _read(path: Path | None) -> bytes:
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
