"""What derives from the fleet's secret: salts, pseudonyms, and the name of its log.

Each use has a label of its own, so no output of one can stand for another (HMAC-SHA-256, RFC 2104).
Pure. Rule for editors: a label is part of the format; a changed one breaks every pseudonym.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache

PSEUDONYM_BYTES = 15
"""120 bits, which are exactly 24 characters of base32."""

_ORIGIN_BYTES = 8


class FleetKeys:
    """Derives from one fleet key of 32 bytes."""

    __slots__ = ("_pseudonyms", "_secret", "pseudonym")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._pseudonyms = _mac(secret, "fleetmdm/pseudonym/1")
        self.pseudonym = lru_cache(maxsize=65536)(self._pseudonym)

    def origin(self) -> str:
        """The name of this fleet's log: tells packs of one fleet from others, and no more."""
        return "fleetmdm/" + _mac(self._secret, "fleetmdm/origin/1")[:_ORIGIN_BYTES].hex()

    def salt_key(self, run_leaf_hash: bytes) -> bytes:
        """The secret from which the salts of one run derive; bound to all that the run said."""
        return hmac.digest(_mac(self._secret, "fleetmdm/salt/1"), run_leaf_hash, "sha256")

    def _pseudonym(self, kind: str, value: str) -> str:
        """The stable stand-in for an identifier: same kind and value, same stand-in.

        Case and surrounding space do not count: a MAC address is one, however it is written.
        """
        data = f"{kind}\0{value.strip().casefold()}".encode()
        digest = hmac.digest(self._pseudonyms, data, "sha256")[:PSEUDONYM_BYTES]
        return f"{kind}-{base64.b32encode(digest).decode().lower()}"


def record_key(salt_key: bytes, file: str, *identity: str) -> bytes:
    """The secret of one record: `file` and `identity` name it within its run."""
    return hmac.digest(salt_key, "\0".join((file, *identity)).encode(), "sha256")


def _mac(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, label.encode(), "sha256")
