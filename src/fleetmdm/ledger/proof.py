"""What a pack carries to show that its run stands in the log, and how that is checked.

The checkpoint is the one at the run's own leaf, so later runs and exports change no byte of it.
Beside the inclusion proof stand all leaf hashes up to there: from them anyone can check that a
later pack of the same fleet continues this one, with no proof made for the occasion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from fleetmdm.ledger.checkpoint import Checkpoint
from fleetmdm.ledger.merkle import (
    ProofError,
    inclusion_proof,
    leaf_hash,
    root_of_hashes,
    verify_inclusion,
)


@dataclass(frozen=True, slots=True)
class RunProof:
    """One run's leaf, its place, and the log up to it."""

    leaf: bytes
    index: int
    checkpoint: Checkpoint
    path: tuple[bytes, ...]
    hashes: tuple[bytes, ...]


def prove_run(leaves: Iterable[bytes], index: int, *, origin: str) -> RunProof:
    """The proof for the leaf at `index`; raises `ProofError` when the log ends before it."""
    hashes: list[bytes] = []
    leaf = b""
    for leaf in islice(leaves, index + 1):
        hashes.append(leaf_hash(leaf))
    if index < 0 or len(hashes) != index + 1:
        raise ProofError(f"the ledger has no leaf {index}")
    checkpoint = Checkpoint(origin, len(hashes), root_of_hashes(hashes))
    return RunProof(leaf, index, checkpoint, tuple(inclusion_proof(hashes, index)), tuple(hashes))


def verify_run_proof(proof: RunProof) -> None:
    """Raise `ProofError` unless leaf, place, path, hashes and checkpoint agree."""
    checkpoint = proof.checkpoint
    verify_inclusion(
        leaf_hash(proof.leaf),
        index=proof.index,
        size=checkpoint.size,
        path=proof.path,
        root=checkpoint.root,
    )
    if len(proof.hashes) != checkpoint.size:
        raise ProofError(f"{len(proof.hashes)} leaf hashes for a log of {checkpoint.size}")
    if root_of_hashes(proof.hashes) != checkpoint.root:
        raise ProofError("the leaf hashes lead to another root")


def verify_extends(older: Checkpoint, hashes: Sequence[bytes]) -> None:
    """Raise `ProofError` unless the log of `hashes` begins with the log of an older checkpoint."""
    if older.size > len(hashes):
        raise ProofError(f"the older log has {older.size} leaves, this one {len(hashes)}")
    if root_of_hashes(hashes[: older.size]) != older.root:
        raise ProofError("the log was rewritten: it does not begin with the older one")
