"""What a pack carries to show that its run stands in the log, and how that is checked.

The checkpoint is the one at the run's own leaf, so later runs and exports change no byte of it.
Beside the inclusion proof stand all leaf hashes up to there: from them anyone can check that a
later pack of the same fleet continues this one, with no proof made for the occasion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetmdm.ledger.checkpoint import Checkpoint
from fleetmdm.ledger.entries import parse_leaf
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


def prove_run(leaves: Iterable[bytes], run_id: int, *, origin: str) -> RunProof:
    """The proof for a run's leaf; raises `ProofError` when the log does not hold the run."""
    hashes: list[bytes] = []
    for leaf in leaves:
        hashes.append(leaf_hash(leaf))
        entry = parse_leaf(leaf)
        if entry["type"] == "run" and entry.get("run_id") == run_id:
            index = len(hashes) - 1
            checkpoint = Checkpoint(origin, len(hashes), root_of_hashes(hashes))
            path = tuple(inclusion_proof(hashes, index))
            return RunProof(leaf, index, checkpoint, path, tuple(hashes))
    raise ProofError(f"the ledger has no leaf for run {run_id}")


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
