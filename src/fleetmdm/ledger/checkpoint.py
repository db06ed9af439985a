"""A statement about the whole log at one size: the body of a signed note (C2SP tlog-checkpoint).

Three lines, each ended by a newline: origin, decimal size, base64 of the root. Signatures over it
stand elsewhere (a pack's manifest covers the file that holds it).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from fleetmdm.ledger.merkle import HASH_BYTES, MAX_TREE_LEAVES

MAX_CHECKPOINT_BYTES = 1024
"""Longest checkpoint that is read back."""

_ORIGIN = re.compile(r"[!-~]{1,200}\Z")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z")


class CheckpointError(ValueError):
    """Bytes that are no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log named `origin` has `size` leaves under `root`."""

    origin: str
    size: int
    root: bytes


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The three lines."""
    root = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n".encode()


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Read the three lines; anything but exactly what `encode_checkpoint` writes is refused."""
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise CheckpointError("checkpoint is too long")
    try:
        origin, size, root, rest = data.decode("ascii").split("\n")
    except ValueError as error:
        raise CheckpointError("checkpoint is not three lines of ASCII") from error
    if rest or not _ORIGIN.match(origin) or not _SIZE.match(size):
        raise CheckpointError("checkpoint has a malformed origin or size")
    try:
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except (binascii.Error, ValueError) as error:
        raise CheckpointError("checkpoint has a malformed root") from error
    if len(checkpoint.root) != HASH_BYTES or checkpoint.size > MAX_TREE_LEAVES:
        raise CheckpointError("checkpoint has a root or size out of range")
    if encode_checkpoint(checkpoint) != data:
        raise CheckpointError("checkpoint is not in canonical form")
    return checkpoint
