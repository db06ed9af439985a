"""RFC 6962's Merkle tree (section 2.1): root, inclusion proof, consistency proof, and their checks.

`MTH({}) = SHA-256()`; a leaf is `SHA-256(0x00 || data)`; a node `SHA-256(0x01 || left || right)`;
a tree of n > 1 leaves splits at k, the largest power of two below n.
Rule for editors: the two prefixes are what keeps a leaf from passing for a node; never hash without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32
"""SHA-256 throughout."""

MAX_TREE_LEAVES = 2**62
"""Largest tree that a proof may speak of: keeps sizes in a signed 64-bit number."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""


class ProofError(ValueError):
    """A proof that does not prove what it is said to."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf's bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class TreeHasher:
    """Takes leaves one by one and knows the root at any moment; memory is logarithmic."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        """Roots of the full subtrees so far, largest first: one for each set bit of `size`."""

    def add(self, data: bytes) -> None:
        """Append a leaf by its bytes."""
        self.add_hash(leaf_hash(data))

    def add_hash(self, leaf: bytes) -> None:
        """Append a leaf by its hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def add_all(self, leaves: Iterable[bytes]) -> None:
        """Append leaves by their bytes, as `add` for each; full subtrees are hashed at once."""
        sha256 = hashlib.sha256
        self.add_hashes([sha256(b"\x00" + data).digest() for data in leaves])

    def add_hashes(self, hashes: list[bytes]) -> None:
        """Append leaves by their hashes, as `add_hash` for each."""
        begin = 0
        while begin < len(hashes):
            # The largest full subtree that begins where the tree ends now.
            room = self.size & -self.size or MAX_TREE_LEAVES
            width = min(room, _power_below(len(hashes) - begin))
            self._add_subtree(_full_root(hashes[begin : begin + width]), width)
            begin += width

    def _add_subtree(self, root: bytes, width: int) -> None:
        size = self.size
        while size & width:
            root = node_hash(self._peaks.pop(), root)
            size -= width
            width *= 2
        self._peaks.append(root)
        self.size = size + width

    def root(self) -> bytes:
        """The root over the leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def _power_below(size: int) -> int:
    """The largest power of two that is at most `size`."""
    return 1 << (size.bit_length() - 1)


def _full_root(hashes: list[bytes]) -> bytes:
    """The root of a full subtree; `hashes` are a power of two."""
    sha256 = hashlib.sha256
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves given by their bytes; streams."""
    tree = TreeHasher()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def root_of_hashes(hashes: Iterable[bytes]) -> bytes:
    """The root over leaves given by their hashes; streams."""
    tree = TreeHasher()
    for leaf in hashes:
        tree.add_hash(leaf)
    return tree.root()


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 6962's k)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves) of section 2.1.1, nearest sibling first; `hashes` are leaf hashes."""
    if not 0 <= index < len(hashes):
        raise ProofError(f"no leaf {index} in a tree of {len(hashes)}")
    low, high = 0, len(hashes)
    path: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(root_of_hashes(hashes[middle:high]))
            high = middle
        else:
            path.append(root_of_hashes(hashes[low:middle]))
            low = middle
    return path[::-1]


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Raise `ProofError` unless `path` leads from a leaf hash at `index` to `root`."""
    if not 0 <= index < size <= MAX_TREE_LEAVES:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    value, node, last = leaf, index, size - 1
    for sibling in _checked(path):
        if last == 0:
            raise ProofError("inclusion proof is too long")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("inclusion proof is too short")
    if value != root:
        raise ProofError("inclusion proof leads to another root")


def consistency_proof(hashes: Sequence[bytes], older: int) -> list[bytes]:
    """PROOF(older, leaves) of section 2.1.2; empty for equal sizes and for an empty older tree."""
    size = len(hashes)
    if not 0 <= older <= size:
        raise ProofError(f"no tree of {older} inside a tree of {size}")
    if older in (0, size):
        return []
    low, high, whole = 0, size, True
    path: list[bytes] = []
    while older != high:
        middle = low + _split(high - low)
        if older <= middle:
            path.append(root_of_hashes(hashes[middle:high]))
            high = middle
        else:
            path.append(root_of_hashes(hashes[low:middle]))
            low, whole = middle, False
    if not whole:
        path.append(root_of_hashes(hashes[low:high]))
    return path[::-1]


def verify_consistency(
    *, older: int, older_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Raise `ProofError` unless the tree of `size` begins with the tree of `older` leaves."""
    if not 0 <= older <= size <= MAX_TREE_LEAVES:
        raise ProofError(f"no tree of {older} inside a tree of {size}")
    if older in (0, size):
        expected = EMPTY_ROOT if older == 0 else root
        if path or older_root != expected:
            raise ProofError("trees of equal or no size need equal roots and no proof")
        return
    steps = list(_checked(path))
    if older & (older - 1) == 0:
        # A full older tree is itself the first node of the proof; the prover leaves it out.
        steps.insert(0, older_root)
    if not steps:
        raise ProofError("consistency proof is too short")
    found_older, found = _fold_consistency(steps, older - 1, size - 1)
    if found_older != older_root:
        raise ProofError("consistency proof leads to another older root")
    if found != root:
        raise ProofError("consistency proof leads to another root")


def _fold_consistency(steps: list[bytes], node: int, last: int) -> tuple[bytes, bytes]:
    """The two roots that a consistency proof leads to (RFC 9162 section 2.1.4.2)."""
    while node & 1:
        node, last = node >> 1, last >> 1
    older = newer = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofError("consistency proof is too long")
        if node & 1 or node == last:
            older, newer = node_hash(step, older), node_hash(step, newer)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, step)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("consistency proof is too short")
    return older, newer


def _checked(path: Sequence[bytes]) -> Sequence[bytes]:
    for step in path:
        if len(step) != HASH_BYTES:
            raise ProofError(f"a proof step has {len(step)} bytes, not {HASH_BYTES}")
    return path
