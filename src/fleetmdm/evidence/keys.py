"""What derives from the fleet's secret: salts, pseudonyms, and the name of its log.

Each use has a label of its own, so no output of one can stand for another (HMAC-SHA-256, RFC 2104).
Pure. Rule for editors: a label is part of the format; a changed one breaks every pseudonym.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

PSEUDONYM_BYTES = 15
"""120 bits, which are exactly 24 characters of base32."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ORIGIN_BYTES = 8

MAX_PSEUDONYMS = 1024
"""Pseudonyms that are remembered at a time: records of one device stand together."""


class FleetKeys:
    """Derives from one fleet key of 32 bytes."""

    __slots__ = ("_pseudonyms", "_secret", "pseudonym")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._pseudonyms = _mac(secret, "fleetmdm/pseudonym/1")
        self.pseudonym = lru_cache(maxsize=MAX_PSEUDONYMS)(self._pseudonym)

    def origin(self) -> str:
        """The name of this fleet's log: tells packs of one fleet from others, and no more."""
        return "fleetmdm/" + _mac(self._secret, "fleetmdm/origin/1")[:_ORIGIN_BYTES].hex()

    def salt_key(self, run_leaf_hash: bytes) -> bytes:
        """The secret from which the salts of one run derive; bound to all that the run said."""
        return hmac.digest(_mac(self._secret, "fleetmdm/salt/2"), run_leaf_hash, "sha256")

    def _pseudonym(self, kind: str, value: str) -> str:
        """The stable stand-in for an identifier: same kind and value, same stand-in.

        Case and surrounding space do not count: a MAC address is one, however it is written.
        """
        data = f"{kind}\0{value.strip().casefold()}".encode()
        digest = hmac.digest(self._pseudonyms, data, "sha256")[:PSEUDONYM_BYTES]
        return f"{kind}-{_base32(digest)}"


_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
"""Two characters for every ten bits."""


def _base32(data: bytes) -> str:
    """Lower-case base32 (RFC 4648 section 6) of a multiple of five bytes."""
    number = int.from_bytes(data)
    return "".join([_PAIRS[number >> at & 1023] for at in range(8 * len(data) - 10, -1, -10)])


def _mac(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, label.encode(), "sha256")
