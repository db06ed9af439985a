"""A private key file of any form that we read: OpenSSH's, PEM, PuTTY's.

Rule for editors: a file's form is told by its first mark, never by trying one parser after another.
"""

from __future__ import annotations

from sshwire.errors import WireError
from sshwire.privkey.container import MAX_PRIVATE_FILE_BYTES, parse_private_keys
from sshwire.privkey.key import PrivateKey
from sshwire.privkey.pem import is_pem, parse_pem
from sshwire.privkey.ppk import is_ppk, parse_ppk


def parse_private_key(data: bytes, *, passphrase: bytes | None = None) -> PrivateKey:
    """The key of a file; raises `PassphraseError`, `UnsupportedError` or another `WireError`."""
    if len(data) > MAX_PRIVATE_FILE_BYTES:
        raise WireError(f"private key file over the limit of {MAX_PRIVATE_FILE_BYTES} bytes")
    if is_ppk(data):
        return parse_ppk(data, passphrase)
    if is_pem(data):
        return parse_pem(data, passphrase)
    return parse_private_keys(data, passphrase=passphrase)[0]
