"""The options by which commands of this group learn whom their user trusts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone.
    from cryptography.x509 import Certificate

    from fleetmdm.evidence.keyring.revocation import Revocations
    from fleetmdm.evidence.verify import Trust
    from sshwire.allowed_signers import AllowedSigners

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Longest file of trust that is read: the longest key revocation list."""

_PATH = click.Path(path_type=Path)


_OPTIONS = (
    click.option(
        "--verify-time",
        metavar="TIME",
        help="Judge keys at this time instead of now (RFC 3339).",
    ),
    click.option(
        "--tsa-ca",
        type=_PATH,
        metavar="FILE",
        help="Time-stamping authorities that are believed, as PEM certificates.",
    ),
    click.option(
        "--witness",
        "witnesses",
        multiple=True,
        metavar="PRINCIPAL",
        help="A name in FILE of whom one must have co-signed the log; may be repeated.",
    ),
    click.option(
        "--revoked",
        type=_PATH,
        multiple=True,
        metavar="FILE",
        help="Revoked keys: a KRL of ssh-keygen -k, or public keys; may be repeated.",
    ),
    click.option(
        "--keyring-dir",
        type=_PATH,
        metavar="DIR",
        help="Take revocations with their times from this keyring.",
    ),
    click.option(
        "--signer",
        "signers",
        multiple=True,
        metavar="PRINCIPAL",
        help="The name in FILE by which the pack must be signed; may be repeated.",
    ),
    click.option(
        "--allowed-signers",
        type=_PATH,
        metavar="FILE",
        help="Whom you trust, as ssh-keygen -Y verify takes it.",
    ),
)


def trust_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add everything that says whom to trust."""
    for option in _OPTIONS:
        function = option(function)
    return function


def load_trust(  # noqa: PLR0913 - one argument for each option
    call: FleetCall,
    *,
    allowed_signers: Path | None,
    signers: Sequence[str],
    keyring_dir: Path | None,
    revoked: Sequence[Path],
    witnesses: Sequence[str],
    tsa_ca: Path | None,
    verify_time: str | None,
) -> Trust:
    """What the options say; raises `trust_invalid` for files that cannot be used."""
    from fleetmdm.evidence.verify import Trust

    if (allowed_signers is None) != (not signers):
        raise click.UsageError("--allowed-signers FILE and --signer PRINCIPAL go together")
    if witnesses and allowed_signers is None:
        raise click.UsageError("--witness needs --allowed-signers FILE")
    return Trust(
        allowed=None if allowed_signers is None else load_allowed_signers(allowed_signers),
        principals=signers,
        now=call.now() if verify_time is None else _parse_time(verify_time),
        revoked=_load_revocations(revoked, keyring_dir),
        witnesses=witnesses,
        authorities=() if tsa_ca is None else _load_authorities(tsa_ca),
    )


def _parse_time(text: str) -> datetime:
    from fleetmdm.rfc3339 import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise click.BadParameter(f"--verify-time: {error}") from error


def read_trust_file(path: Path) -> bytes:
    """A file of trust; raises `input_not_found` and `trust_invalid`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such file: {path}") from error
    except OSError as error:
        raise FleetError("trust_invalid", f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise FleetError("trust_invalid", f"{path} is longer than {MAX_FILE_BYTES} bytes")
    return data


def load_allowed_signers(path: Path) -> AllowedSigners:
    """An allowed signers file as ssh-keygen(1) describes it."""
    from sshwire.allowed_signers import parse_allowed_signers
    from sshwire.errors import WireError

    try:
        text = read_trust_file(path).decode()
        # ssh-keygen(1): a time without Z is in the system's zone.
        return parse_allowed_signers(text, localize=lambda stamp: stamp.astimezone())
    except (WireError, UnicodeDecodeError) as error:
        raise FleetError("trust_invalid", f"{path}: {error}", hint="see ssh-keygen(1)") from error


def _load_revocations(paths: Sequence[Path], keyring_dir: Path | None) -> Revocations:
    from fleetmdm.evidence.keyring.folder import load_keyring
    from fleetmdm.evidence.keyring.revocation import Revocations

    lists = tuple(load_revocation_list(path) for path in paths)
    dated = {} if keyring_dir is None else load_keyring(keyring_dir).revocations()
    return Revocations(lists, dated)


def load_revocation_list(path: Path) -> Any:
    """A KRL, or as `ssh-keygen -Y verify -r` takes it too, a list of public keys."""
    from sshwire.errors import WireError
    from sshwire.krl import RevocationList, parse_krl
    from sshwire.pubkey import parse_public_line

    data = read_trust_file(path)
    try:
        if data.startswith(b"SSHKRL\n"):
            return parse_krl(data)
        lines = [line.strip() for line in data.decode().splitlines()]
        keys = [parse_public_line(line)[0] for line in lines if line and not line.startswith("#")]
    except (WireError, UnicodeDecodeError) as error:
        raise FleetError(
            "trust_invalid", f"{path}: {error}", hint="a KRL, or one public key a line"
        ) from error
    return RevocationList(keys={key.blob for key in keys})


def _load_authorities(path: Path) -> Sequence[Certificate]:
    from fleetmdm.evidence.attest.authority import load_authorities

    try:
        return load_authorities(read_trust_file(path))
    except ValueError as error:
        raise FleetError("trust_invalid", f"{path}: {error}", hint="certificates in PEM") from error
