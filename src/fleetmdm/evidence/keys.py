"""What derives from the fleet's secret: salts, pseudonyms, and the name of its log.

Each use has a label of its own, so no output of one can stand for another (HMAC-SHA-256, RFC 2104).
Pure. Rule for editors: a label is part of the format; a changed one breaks every pseudonym.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache

PSEUDONYM_BYTES = 15
"""120 bits, which are exactly 24 characters of base32."""

_BLOCK_BYTES = 64
"""Of SHA-256."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ORIGIN_BYTES = 8


class FleetKeys:
    """Derives from one fleet key of 32 bytes."""

    __slots__ = ("_inner", "_outer", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        key = _mac(secret, "fleetmdm/pseudonym/1").ljust(_BLOCK_BYTES, b"\0")
        self._inner = bytes(byte ^ 0x36 for byte in key)
        self._outer = bytes(byte ^ 0x5C for byte in key)

    def origin(self) -> str:
        """The name of this fleet's log: tells packs of one fleet from others, and no more."""
        return "fleetmdm/" + _mac(self._secret, "fleetmdm/origin/1")[:_ORIGIN_BYTES].hex()

    def salt_key(self, run_leaf_hash: bytes) -> bytes:
        """The secret from which the salts of one run derive; bound to all that the run said."""
        return hmac.digest(_mac(self._secret, "fleetmdm/salt/2"), run_leaf_hash, "sha256")

    def pseudonym(self, kind: str, value: str) -> str:
        """The stable stand-in for an identifier: same kind and value, same stand-in.

        Case and surrounding space do not count: a MAC address is one, however it is written.
        """
        sha256, said = hashlib.sha256, f"{kind}\0{value.strip().casefold()}".encode()
        # HMAC, as RFC 2104 writes it: what hmac makes of it takes twice the time.
        digest = sha256(self._outer + sha256(self._inner + said).digest()).digest()
        return f"{kind}-{_base32(digest)}"


@cache
def _triples() -> list[str]:
    """Three characters for every fifteen bits."""
    pairs = [one + other for one in _ALPHABET for other in _ALPHABET]
    return [pair + last for pair in pairs for last in _ALPHABET]


def _base32(digest: bytes) -> str:
    """Lower-case base32 (RFC 4648 section 6) of the first bytes that a pseudonym has."""
    number, of, low = int.from_bytes(digest[:PSEUDONYM_BYTES]), _triples(), 32767
    return (
        f"{of[number >> 105]}{of[number >> 90 & low]}{of[number >> 75 & low]}"
        f"{of[number >> 60 & low]}{of[number >> 45 & low]}{of[number >> 30 & low]}"
        f"{of[number >> 15 & low]}{of[number & low]}"
    )


def _mac(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, label.encode(), "sha256")
