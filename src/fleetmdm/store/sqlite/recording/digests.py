"""By what a full check tells that a block is as before: two hashes over all that its rows follow from.

Where they are those that the newest run left, its rows and leaf hashes are neither made nor read.
Rule for editors: whatever changes a row or a leaf must change its digest. Findings are not in it but
what they are made of: who makes them otherwise raises `EVALUATOR_VERSION`, which the question has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fleetmdm.evaluate import VerdictBatch
from fleetmdm.ledger.merkle import HASH_BYTES
from fleetmdm.store.port import Batch, Question


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one block; empty where nothing is known."""

    rows: bytes = b""
    """Of its rows, and of the leaves of its results."""
    inventory: bytes = b""
    """Of the leaves of its inventory."""

    def stored(self) -> bytes:
        """As one value."""
        return self.rows + self.inventory


NOT_KNOWN: Final = Digests()


def parse_digests(stored: bytes) -> Digests:
    """What `Digests.stored` gave."""
    return Digests(stored[:HASH_BYTES], stored[HASH_BYTES:])


def digest_question(question: Question | None) -> bytes:
    """What all blocks of a run have in common; nothing where it is not known."""
    if question is None:
        return b""
    told = [question.text, dict(question.policies), question.reads_last_seen]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()


def digest_block(
    asked: bytes, said: Sequence[tuple[Batch, VerdictBatch]], *, reads_last_seen: bool
) -> Digests:
    """The digests of what was said of a whole block; `asked` is that of the question."""
    rows, inventory = hashlib.sha256(asked), hashlib.sha256()
    for batch, verdicts in said:
        count = len(batch).to_bytes(8)
        documents = b"".join((count, np.array(batch.handles, np.int64).tobytes(), *batch.hashes))
        seen = "\n".join(batch.last_seen).encode()
        inventory.update(documents + count + seen)
        rows.update(documents)
        if reads_last_seen:
            rows.update(seen)
        for column in verdicts.columns:
            rows.update(column.outcomes.tobytes())
            if column.until is not None:
                rows.update(column.until.tobytes())
        rows.update(len(verdicts.time_told).to_bytes(8) + verdicts.time_told)
    return Digests(rows.digest(), inventory.digest())
