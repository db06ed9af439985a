"""Properties of the Merkle tree, against RFC 6962's definition written as it stands there."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.ledger.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)


def _mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _mth(leaves[:split]) + _mth(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_streamed_root_is_the_definition(leaves: list[bytes]) -> None:
    assert tree_root(leaves) == _mth(leaves)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40), st.data())
def test_every_leaf_proves_its_place(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    path = inclusion_proof(hashes, index)
    verify_inclusion(hashes[index], index=index, size=len(leaves), path=path, root=_mth(leaves))


@given(st.lists(st.binary(max_size=4), max_size=40), st.data())
def test_every_prefix_is_consistent(leaves: list[bytes], data: st.DataObject) -> None:
    older = data.draw(st.integers(0, len(leaves)))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    verify_consistency(
        older=older,
        older_root=_mth(leaves[:older]),
        size=len(leaves),
        root=_mth(leaves),
        path=consistency_proof(hashes, older),
    )
