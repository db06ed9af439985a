"""RSA and DSA keys as servers want them that know SHA-1 only; served where `allow_sha1` is set.

Rule for editors: a client that names a newer algorithm by its flags always gets it.
"""

from __future__ import annotations

from sshwire.algorithms import find_algorithm
from sshwire.privkey import PrivateKey

_FAMILIES = frozenset({"rsa", "dsa"})


def signs_over_sha1(key: PrivateKey) -> bool:
    """Whether a key has such signatures."""
    return find_algorithm(key.public.algorithm).family in _FAMILIES


class Sha1Key:
    """A key behind the port of every key that signs; without flags it signs over SHA-1."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._knows_nothing_newer = find_algorithm(key.public.algorithm).family == "dsa"

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        if not flags or self._knows_nothing_newer:
            return self._key.sign_over_sha1(data)
        return self._key.sign(data, flags)
