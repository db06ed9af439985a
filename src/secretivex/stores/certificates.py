"""Certificates that are offered with a key, whichever store has it: `*-cert.pub` files.

Rule for editors: a certificate of another key is never offered, and each one left out has its reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from secretivex.identity import Identity
from sshwire.algorithms import find_algorithm
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, plain_public_key
from sshwire.pubkey import parse_public_line

MAX_CERTIFICATE_BYTES = 1024 * 1024


def load_certificate(path: Path) -> PublicKey:
    """The certificate of a file; raises OSError, or `WireError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise WireError("not a regular file")
        data = os.read(descriptor, MAX_CERTIFICATE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise WireError(f"longer than {MAX_CERTIFICATE_BYTES} bytes")
    key, _ = parse_public_line(data.decode(errors="replace").strip())
    if not find_algorithm(key.algorithm).is_certificate:
        raise WireError("a plain key and no certificate")
    return key


class Certificates:
    """Certificates of configured files, by the key they certify."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(map(Path, paths))
        self._of: dict[bytes, list[PublicKey]] = {}
        self.problems: dict[str, str] = {}

    def refresh(self) -> None:
        """Read the files again."""
        self._of, self.problems = {}, {}
        for path in self._paths:
            try:
                certificate = load_certificate(path)
            except OSError as error:
                self.problems[str(path)] = f"cannot be read: {error.strerror}"
            except WireError as error:
                self.problems[str(path)] = f"not a usable certificate: {error}"
            else:
                plain = plain_public_key(certificate).blob
                self._of.setdefault(plain, []).append(certificate)

    def of(self, key_blob: bytes) -> tuple[PublicKey, ...]:
        """Those of a plain key."""
        return tuple(self._of.get(key_blob, ()))

    def offer(
        self, keys: Iterable[tuple[PublicKey, str]], store: str, key_types: Collection[str]
    ) -> tuple[Identity, ...]:
        """Keys under their comments, each with its certificates, in the order that stores keep.

        `key_types` () is all types.
        """
        found = [
            Identity(offered.blob, comment, offered.algorithm, store)
            for key, comment in keys
            for offered in (key, *self.of(key.blob))
            if not key_types or offered.algorithm in key_types
        ]
        return tuple(sorted(found, key=lambda one: (one.comment, one.key_blob)))
