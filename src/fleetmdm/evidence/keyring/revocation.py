"""Whether a key was revoked, and since when. Pure.

A key revocation list (`ssh-keygen -k`) knows no time for a single key, so a key in it is revoked
for all times; our own keyring knows the moment, and a signature proven older than that may stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sshwire.krl import RevocationList
from sshwire.pubkey import PublicKey, fingerprint


@dataclass(frozen=True, slots=True)
class Revocation:
    """Why a key is no longer good; `at` None is for all times."""

    at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Revocations:
    """Everything that a verifier was told of revoked keys."""

    lists: tuple[RevocationList, ...] = ()
    dated: Mapping[str, Revocation] = field(default_factory=dict)
    """By fingerprint, from a keyring."""

    def find(self, key: PublicKey) -> Revocation | None:
        """The strictest revocation of a key, or None."""
        if any(each.revokes(key) for each in self.lists):
            return Revocation(None, "it stands in a key revocation list")
        return self.dated.get(fingerprint(key.blob))
