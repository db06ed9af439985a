"""What a run commits to: the hashes of its policies, of its inventory, and of every verdict.

The roots of inventory and verdicts are over sets of leaf hashes, so that a run which finds little
changed has little to hash; docs/evidence-format.md says how anyone computes them again.
Rule for editors: these bytes are hashed for ever; never change how an existing one is written.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from fleetmdm.device import DocumentBatch
from fleetmdm.ledger.merkle import EMPTY_ROOT, HASH_BYTES, TreeHasher, leaf_hash, node_hash
from fleetmdm.results import Status

MAX_KNOWN_STATES: Final = 65_536
"""Combinations of states that are remembered at a time."""

BUCKET_LEAVES: Final = 256
"""As many leaves as a bucket of the tree has at most on average."""

SALT_BYTES: Final = 16
_SALT_LABEL: Final = b"fleetmdm root salt v1"
_LEAF, _BUCKET = b"\x00", b"\x02"

Table = npt.NDArray[np.uint8]
"""Hashes, one a row."""

_encode: Final = msgspec.json.Encoder().encode
"""Of a text: RFC 8785 escapes the same characters in the same way."""


def policy_set_hash(sources: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over one line `HEX  ID` for each policy, in the order of the ids; lower-case hex."""
    lines = (f"{hashlib.sha256(source).hexdigest()}  {name}\n" for name, source in sources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def root_salt(fleet_key: bytes) -> bytes:
    """What goes into every leaf below, so that who only sees a root cannot confirm a guess."""
    return hmac.digest(fleet_key, _SALT_LABEL, "sha256")[:SALT_BYTES]


class InventoryLeaves:
    """Makes the leaf hashes of the inventory tree.

    SHA-256 of 0x00, the salt, the SHA-256 of the document without `last_seen`, and `last_seen`.
    """

    def __init__(self, salt: bytes) -> None:
        self._begin = _LEAF + salt

    def of(self, hashes: Sequence[bytes], last_seen: Sequence[str]) -> list[bytes]:
        """One for each device; `hashes` are of `encode_facts`, times as `encode_time` writes them."""
        begin, sha256 = self._begin, hashlib.sha256
        return [
            sha256(begin + digest + seen.encode()).digest()
            for digest, seen in zip(hashes, last_seen, strict=True)
        ]


class RunInventory:
    """Computes the inventory root of a run again, from its documents in the order of their ids."""

    def __init__(self, roots: int, fleet_key: bytes) -> None:
        """`roots` is that of the run."""
        self._leaves = InventoryLeaves(root_salt(fleet_key)) if roots > 1 else None
        self._hashes = bytearray()
        self._list = TreeHasher()

    def hash(self, batch: DocumentBatch) -> list[bytes]:
        """The leaf hashes of some documents; takes none of them."""
        if self._leaves is None:
            return [leaf_hash(document) for document in batch.whole()]
        sha256 = hashlib.sha256
        return self._leaves.of([sha256(facts).digest() for facts in batch.facts], batch.last_seen)

    def add(self, hashes: list[bytes]) -> None:
        """Take the next documents by their leaf hashes."""
        if self._leaves is None:
            self._list.add_hashes(hashes)
        else:
            self._hashes += b"".join(hashes)

    def root(self) -> bytes:
        """The root over the devices so far."""
        return self._list.root() if self._leaves is None else root_of_set(bytes(self._hashes))


class ResultLeaves:
    """Makes the leaves of the result tree, passes included: one for each device.

    RFC 8785 form of {"device_id": ..., "states": {policy id: state}}. Few devices have states that
    no other has, so each combination is written once. A leaf's hash is SHA-256 of 0x00, the salt
    and the leaf.
    """

    def __init__(self, policy_ids: Sequence[str], states: Sequence[Status], salt: bytes) -> None:
        # RFC 8785 section 3.2.3: keys are sorted by their UTF-16 code units.
        order = sorted(range(len(policy_ids)), key=lambda at: policy_ids[at].encode("utf-16-be"))
        self._members = [
            (place, [_encode(policy_ids[place]) + b":" + _encode(state.value) for state in states])
            for place in order
        ]
        """For each policy, in the order of the keys: its place, and its member by code."""
        self._known: dict[bytes, bytes] = {}
        self._begin = _LEAF + salt

    def leaf(self, device_id: str, codes: bytes) -> bytes:
        """The leaf of one device; `codes` has for each policy the place of its state."""
        tail = self._known.get(codes) or self._write(codes)
        return b'{"device_id":' + _encode(device_id) + tail

    def _write(self, codes: bytes) -> bytes:
        if len(self._known) >= MAX_KNOWN_STATES:
            self._known.clear()
        members = b",".join([texts[codes[place]] for place, texts in self._members])
        tail = self._known[codes] = b',"states":{' + members + b"}}"
        return tail

    def hashes(self, states: Iterable[tuple[str, bytes]]) -> list[bytes]:
        """The hashes of the leaves of (device id, codes)."""
        begin, sha256 = self._begin + b'{"device_id":', hashlib.sha256
        known, write = self._known.get, self._write
        return [
            sha256(begin + _encode(device_id) + (known(codes) or write(codes))).digest()
            for device_id, codes in states
        ]


def root_of_set(hashes: bytes | Table) -> bytes:
    """The root over leaf hashes, in whatever order they follow each other in `hashes`.

    In ascending order they are cut into 2^k buckets by their first k bits, k the least with which a
    bucket has at most `BUCKET_LEAVES` on average. A bucket is SHA-256 of 0x02 and its leaf hashes;
    above them stands RFC 6962's tree. Of no leaves it is SHA-256 of nothing.
    """
    if not len(hashes):
        return EMPTY_ROOT
    table: Table = np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES)
    order, first = _ascending(table)
    bits = max(0, -(-len(table) // BUCKET_LEAVES) - 1).bit_length()
    level = list(_buckets(table, order, first, bits))
    while len(level) > 1:
        level = [node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
    return level[0]


_BUCKETS_AT_ONCE: Final = 8
"""Whose leaves are put in order together: not all of them, which would be a second table."""


def _buckets(
    table: Table, order: npt.NDArray[np.intp], first: npt.NDArray[np.uint64], bits: int
) -> Iterator[bytes]:
    numbers = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    bounds = [0, *np.searchsorted(first, numbers).tolist(), len(order)]
    for place in range(0, 1 << bits, _BUCKETS_AT_ONCE):
        some = bounds[place : place + _BUCKETS_AT_ONCE + 1]
        leaves = table.take(order[some[0] : some[-1]], axis=0).data.cast("B")
        cuts = [(bound - some[0]) * HASH_BYTES for bound in some]
        for begin, end in pairwise(cuts):
            bucket = hashlib.sha256(_BUCKET)
            bucket.update(leaves[begin:end])
            yield bucket.digest()


def _ascending(table: Table) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint64]]:
    """The order of the hashes, and in it the first eight bytes of each as a number."""
    first = table.view(">u8")[:, 0].astype(np.uint64)
    for order in _orders(first):
        ordered = first.take(order)
        if not (ordered[1:] <= ordered[:-1]).any():
            return order, ordered
    # Nobody finds two such hashes by chance; equal devices would have them.
    rows = list(map(bytes, table))
    order = np.array(sorted(range(len(rows)), key=rows.__getitem__), np.intp)
    return order, first.take(order)


_PLACE_BITS: Final = 20


def _orders(first: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.intp]]:
    """Orders in which the numbers most likely ascend, the sooner found one first."""
    if len(first) <= 1 << _PLACE_BITS:
        # Sorting numbers that carry their place costs a third of sorting places by their numbers.
        low = np.uint64((1 << _PLACE_BITS) - 1)
        keys = first & ~low
        keys |= np.arange(len(first), dtype=np.uint64)
        keys.sort()
        keys &= low
        yield keys.view(np.intp)
    yield np.argsort(first)
