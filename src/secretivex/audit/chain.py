"""The chain of an audit log: every batch of records is followed by a seal over all that came before.

A seal holds a hash chain (SHA-256 over the previous hash and the batch), which anybody can follow
to a head that was noted elsewhere, and an HMAC under a key that is hashed forward with every seal
and then forgotten: who takes over the machine later cannot make earlier seals anew. Rule for
editors: the key in use is never written; only the first one of a chain is, for the verifier.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple

ROOT_KEY_BYTES = 32
HASH_BYTES = 32

NO_HASH = bytes(HASH_BYTES)
"""What the first batch of a chain is chained to."""

_RATCHET = b"secretivex audit ratchet v1"


Lines = bytes | memoryview
"""Whole lines, wherever they stand."""


class Seal(NamedTuple):
    """What stands after a batch; `number` counts the seals of a chain from 1."""

    number: int
    records: int
    digest: bytes
    mac: bytes


def ratchet(key: bytes) -> bytes:
    """The key after this one; there is no way back."""
    return hashlib.sha256(_RATCHET + key).digest()


def make_seal(key: bytes, number: int, records: int, before: bytes, batch: Lines) -> Seal:
    """The seal of a batch of whole lines, `before` being the digest of the seal before it."""
    hashed = hashlib.sha256(before)
    hashed.update(batch)
    digest = hashed.digest()
    return Seal(number, records, digest, make_mac(key, number, records, digest))


def make_mac(key: bytes, number: int, records: int, digest: bytes) -> bytes:
    """What only the holder of the key of that moment can make."""
    return hmac.digest(key, b"%d %d " % (number, records) + digest, "sha256")


def encode_seal(seal: Seal) -> bytes:
    """A seal as a line, as `encode_line` would write it."""
    return b'{"event":"seal","number":%d,"records":%d,"hash":"%s","mac":"%s"}\n' % (
        *(seal.number, seal.records),
        *(seal.digest.hex().encode(), seal.mac.hex().encode()),
    )


_SEAL_LINE = re.compile(
    rb'(?:(?<=\n)|\A)\{"event":"seal","number":[0-9]+,"records":[0-9]+,'
    rb'"hash":"([0-9a-f]{64})","mac":"[0-9a-f]{64}"\}\n'
)


def hash_standing(digest: bytes, rest: bytes) -> str:
    """What a log ends with, for the chain that goes on there: a seal's digest and what follows it."""
    return hashlib.sha256(digest + rest).hexdigest()


def standing_of(tail: bytes, *, is_whole: bool) -> str:
    """The same of the last piece of a log; "" for a piece without a seal that is not the whole."""
    seal = None
    for seal in _SEAL_LINE.finditer(tail):
        if not seal.start() and not is_whole:
            seal = None  # noqa: PLW2901 - the piece may begin within a line
    if seal is None:
        return hash_standing(NO_HASH, tail) if is_whole else ""
    return hash_standing(bytes.fromhex(seal[1].decode()), tail[seal.end() :])


class Chain:
    """The writer's end of a chain."""

    def __init__(self, root_key: bytes) -> None:
        self._key = bytearray(root_key)
        self._digest = NO_HASH
        self._number = 0

    @property
    def digest(self) -> bytes:
        """Of the last seal."""
        return self._digest

    @property
    def head(self) -> str:
        """Digest of the last seal in hexadecimal; worth noting down elsewhere."""
        return self._digest.hex()

    @property
    def seals(self) -> int:
        """How many seals the chain has."""
        return self._number

    def seal(self, batch: bytes, records: int | None = None) -> bytes:
        """The line to write after a batch of so many whole lines; moves the chain on."""
        made = self.make(batch, batch.count(b"\n") if records is None else records)
        self.advance(made)
        return encode_seal(made)

    def make(self, batch: Lines, records: int) -> Seal:
        """The next seal, if this is the next batch; the chain stays where it is."""
        return make_seal(bytes(self._key), self._number + 1, records, self._digest, batch)

    def advance(self, seal: Seal) -> None:
        """That seal is written: the key that made it is forgotten."""
        self._number, self._digest = seal.number, seal.digest
        self._key[:] = ratchet(bytes(self._key))
