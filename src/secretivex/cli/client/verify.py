"""`secretive-client verify`: whether a raw signature, as `sign` gives it, is good."""

from __future__ import annotations

from pathlib import Path

import click

from clikit.command import Call, standard_options
from secretivex.cli.client.sign import read_input
from secretivex.errors import SecretiveError
from sshwire.errors import VerificationError, WireError
from sshwire.pubkey import PublicKey, fingerprint, parse_public_line


@click.command("verify")
@standard_options(formats=("text", "json"))
@click.option(
    "--public-key",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The signer's public key, as in a .pub file.",
)
@click.option("--signature", required=True, metavar="HEX", help="signature_blob_hex of `sign`.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What was signed; standard input when it is left out or is `-`.",
)
def command(call: Call, *, public_key: Path, signature: str, data: Path | None) -> None:
    """Verify a signature that `sign` made; exit 1 if it is bad. Asks no agent."""
    from sshwire.signature import verify_signature

    key = _read_key(public_key)
    try:
        blob = bytes.fromhex(signature)
    except ValueError as error:
        raise SecretiveError("usage", "--signature is not hex") from error
    reason = ""
    try:
        verify_signature(key, blob, read_input(data))
    except VerificationError as error:
        reason = str(error)
    except WireError as error:
        reason = f"not a signature: {error}"
    result = {"good": not reason, "fingerprint": fingerprint(key.blob), "reason": reason}
    found = SecretiveError("signature_bad", f"the signature is bad: {reason}") if reason else None
    call.emit(
        result, lambda: [f"{'bad' if reason else 'good'} {result['fingerprint']}\n"], found=found
    )


def _read_key(path: Path) -> PublicKey:
    try:
        return parse_public_line(path.read_text().strip())[0]
    except FileNotFoundError as error:
        raise SecretiveError("input_not_found", f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError, WireError) as error:
        raise SecretiveError("input_unreadable", f"{path}: not a public key: {error}") from error
