"""The Merkle tree against Certificate Transparency's reference vectors."""

from __future__ import annotations

import pytest

from fleetmdm.ledger.merkle import (
    EMPTY_ROOT,
    ProofError,
    TreeHasher,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# Inputs and roots of the Certificate Transparency project's reference tree (RFC 6962 hashing).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


@pytest.mark.parametrize("size", range(9))
def test_root_is_the_reference_root(size: int) -> None:
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size]


def test_an_empty_tree_hashes_nothing() -> None:
    assert EMPTY_ROOT.hex() == ROOTS[0]
    assert TreeHasher().root() == EMPTY_ROOT


def test_a_leaf_never_hashes_as_a_node() -> None:
    left, right = HASHES[0], HASHES[1]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_reference_inclusion_proof_of_the_first_of_eight() -> None:
    # PATH(0, D[8]) of the reference tree.
    assert [step.hex() for step in inclusion_proof(HASHES, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_reference_consistency_proof_of_six_in_eight() -> None:
    # PROOF(6, D[8]) of the reference tree.
    assert [step.hex() for step in consistency_proof(HASHES, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_a_proof_for_one_place_proves_no_other() -> None:
    root = bytes.fromhex(ROOTS[7])
    path = inclusion_proof(HASHES[:7], 3)
    verify_inclusion(HASHES[3], index=3, size=7, path=path, root=root)
    with pytest.raises(ProofError, match="another root"):
        verify_inclusion(HASHES[2], index=3, size=7, path=path, root=root)
    with pytest.raises(ProofError, match=r"another root|too"):
        verify_inclusion(HASHES[3], index=2, size=7, path=path, root=root)
    with pytest.raises(ProofError, match="too short"):
        verify_inclusion(HASHES[3], index=3, size=7, path=path[:-1], root=root)
    with pytest.raises(ProofError, match="too long"):
        verify_inclusion(HASHES[3], index=3, size=7, path=[*path, path[0]], root=root)
    with pytest.raises(ProofError, match="31 bytes"):
        verify_inclusion(HASHES[3], index=3, size=7, path=[b"x" * 31], root=root)
    with pytest.raises(ProofError, match="no leaf"):
        verify_inclusion(HASHES[3], index=7, size=7, path=path, root=root)
    with pytest.raises(ProofError, match="no leaf"):
        inclusion_proof(HASHES, 8)


def test_a_rewritten_history_is_not_consistent() -> None:
    forged = [leaf_hash(b"forged"), *HASHES[1:]]
    with pytest.raises(ProofError, match="another older root"):
        verify_consistency(
            older=5,
            older_root=bytes.fromhex(ROOTS[5]),
            size=8,
            root=tree_root([b"forged", *LEAVES[1:]]),
            path=consistency_proof(forged, 5),
        )


@pytest.mark.parametrize(("older", "size"), [(9, 8), (-1, 8)])
def test_a_tree_does_not_begin_with_a_larger_one(older: int, size: int) -> None:
    with pytest.raises(ProofError, match="no tree"):
        consistency_proof(HASHES[:size], older)
    with pytest.raises(ProofError, match="no tree"):
        verify_consistency(older=older, older_root=b"", size=size, root=b"", path=[])


def test_equal_trees_need_equal_roots_and_no_proof() -> None:
    root = bytes.fromhex(ROOTS[8])
    verify_consistency(older=8, older_root=root, size=8, root=root, path=[])
    verify_consistency(older=0, older_root=EMPTY_ROOT, size=8, root=root, path=[])
    for older, older_root, path in ((8, EMPTY_ROOT, []), (8, root, [root]), (0, root, [])):
        with pytest.raises(ProofError, match="equal"):
            verify_consistency(older=older, older_root=older_root, size=8, root=root, path=path)


def test_a_consistency_proof_has_one_length() -> None:
    root, older_root = bytes.fromhex(ROOTS[8]), bytes.fromhex(ROOTS[6])
    path = consistency_proof(HASHES, 6)
    for wrong in ([], path[:-1], [*path, path[0]]):
        with pytest.raises(ProofError):
            verify_consistency(older=6, older_root=older_root, size=8, root=root, path=wrong)
