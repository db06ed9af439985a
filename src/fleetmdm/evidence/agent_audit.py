"""The SSH agent's audit log as evidence: who used which key when, and that its chain holds. Pure.

SecretiveX writes it (docs/audit.md): JSON lines, and after each batch of them a seal whose `hash` is
SHA-256 over the hash of the seal before and the batch's bytes. A chain begins with `chain_opened`;
a file that goes on with one begins with `chain_continued` and repeats where it stood. The seals'
MACs are for whoever holds the chain's first key (`secretive-client verify-audit`).
Rule for editors: lines after the last seal are covered by nothing of the agent's, and are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_LOG_BYTES = 256 * 1024 * 1024
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes between two seals, as the agent has it."""

_NO_HASH = bytes(32)


@dataclass(slots=True)
class AuditSegment:
    """What a segment of a log holds."""

    records: int = 0
    seals: int = 0
    unsealed: int = 0
    head: str = ""
    """The hash that the last seal carries."""
    problems: list[str] = field(default_factory=list)


def check_segment(lines: Iterable[bytes]) -> AuditSegment:
    """Follow every chain of a segment through its lines."""
    segment = AuditSegment()
    before: bytes | None = None
    batch = bytearray()
    for number, line in enumerate(lines, start=1):
        value = _parse(line)
        event = value.get("event")
        if not value or not line.endswith(b"\n"):
            segment.problems.append(f"line {number} is no record")
        if event == "seal":
            problem, before = _check_seal(value, before, bytes(batch))
            segment.problems.extend(f"line {number}: {problem}" for _ in [0] if problem)
            segment.seals += 1
            segment.head = str(value.get("hash", ""))
            batch.clear()
            continue
        if event in ("chain_opened", "chain_continued"):
            # A writer that was killed leaves records without their seal.
            segment.unsealed += batch.count(b"\n")
            batch.clear()
            before = _begin(value, before)
        batch += line
        segment.records += 1
        if len(batch) > MAX_BATCH_BYTES:
            segment.problems.append(f"line {number}: too many records without a seal")
            batch.clear()
    segment.unsealed += batch.count(b"\n")
    if not segment.seals:
        segment.problems.append("no seal: nothing of the agent vouches for these lines")
    return segment


def _begin(value: dict[str, Any], before: bytes | None) -> bytes | None:
    """The hash that the first batch of a chain, or of a further file of it, is chained to."""
    if value["event"] == "chain_opened":
        return _NO_HASH
    said = _unhex(value.get("hash"))
    # Within one segment a file can only go on where the one before it ended.
    return said if before is None or before == said else None


def _check_seal(
    value: dict[str, Any], before: bytes | None, batch: bytes
) -> tuple[str, bytes | None]:
    """What is wrong with a seal, and the hash that the next batch is chained to."""
    said = _unhex(value.get("hash"))
    if before is None:
        return "a seal outside a chain, or a file is missing before it", said
    if value.get("records") != batch.count(b"\n"):
        return "records are missing before this seal", said
    if said != hashlib.sha256(before + batch).digest():
        return "the records before this seal were altered", said
    return "", said


def _unhex(value: object) -> bytes | None:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
