"""A keyring on disk: keyring.json, and the private keys that were made here, one file each.

Rule for editors: a private key is written once, for its owner alone, and never read but to sign.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from clikit.output import write_atomic
from fleetmdm.errors import FleetError
from fleetmdm.evidence.keyring.model import (
    MAX_KEYRING_BYTES,
    Keyring,
    encode_keyring,
    parse_keyring,
)
from sshwire.algorithms import find_algorithm
from sshwire.keyblob import encode_public_fields
from sshwire.privkey import PrivateKey, encode_private_key
from sshwire.pubkey import PublicKey, encode_public_line
from sshwire.wire import encode_text

KEYRING = "keyring.json"
KEY_KINDS = {
    "ed25519": "ssh-ed25519",
    "ecdsa-256": "ecdsa-sha2-nistp256",
    "ecdsa-384": "ecdsa-sha2-nistp384",
    "ecdsa-521": "ecdsa-sha2-nistp521",
    "rsa-3072": "ssh-rsa",
    "rsa-4096": "ssh-rsa",
}
"""Kinds of keys that can be made, with the SSH algorithm of each."""


def load_keyring(folder: Path, *, create: bool = False) -> Keyring:
    """The keyring in a folder; with `create`, an absent one is empty.

    Raises `keyring_not_found` and `keyring_invalid`.
    """
    path = folder / KEYRING
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEYRING_BYTES + 1)
    except FileNotFoundError as error:
        if create:
            return Keyring()
        raise FleetError(
            "keyring_not_found", f"no keyring in {folder}", hint="fleetmdm evidence keygen"
        ) from error
    except OSError as error:
        raise FleetError("keyring_invalid", f"cannot read {path}: {error.strerror}") from error
    return parse_keyring(data, name=str(path))


def save_keyring(folder: Path, keyring: Keyring) -> None:
    """Write keyring.json, whole or not at all."""
    write_atomic(folder / KEYRING, [encode_keyring(keyring)])


def key_path(folder: Path, name: str) -> Path:
    """Where the private key of an entry stands if it was made here."""
    return folder / f"{name}.key"


def make_key(kind: str) -> PrivateKey:
    """A new private key of one of `KEY_KINDS`."""
    secret: Any = _generate(kind)
    row = find_algorithm(KEY_KINDS[kind])
    blob = encode_text(row.name) + encode_public_fields(row, secret.public_key())
    return PrivateKey(PublicKey(row.name, blob), "", secret)


def _generate(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    family, _, size = kind.partition("-")
    if family == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    curves = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
    return ec.generate_private_key(curves[size])


def write_key(folder: Path, name: str, key: PrivateKey) -> Path:
    """Keep a private key, and its public half beside it as OpenSSH does. Raises `key_exists`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = key_path(folder, name)
    if os.path.lexists(path):
        raise FleetError("key_exists", f"{path} exists and is not overwritten")
    write_atomic(path, [encode_private_key(key, random_bytes=os.urandom)])
    line = encode_public_line(key.public_key, name) + "\n"
    write_atomic(path.with_name(f"{path.name}.pub"), [line.encode()], mode=0o644)
    return path
