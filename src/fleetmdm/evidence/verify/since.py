"""Whether the log of one pack continues that of an older pack of the same fleet (RFC 6962).

A plain chain of hashes would be content with a log that was cut or written anew and hashed again;
here the older pack's root must be that of the same number of leaves at the head of this log.
"""

from __future__ import annotations

from pathlib import Path

from fleetmdm.evidence.names import LOG_CHECKPOINT, LOG_HASHES
from fleetmdm.evidence.verify.files import Contents
from fleetmdm.evidence.verify.findings import Continued, PackReport
from fleetmdm.ledger.checkpoint import CheckpointError, parse_checkpoint
from fleetmdm.ledger.merkle import ProofError, consistency_proof, verify_consistency

TOLERATED = frozenset({"no_trust_anchor", "unsigned"})
"""Findings in the older pack that say nothing of its bytes."""


def check_since(
    contents: Contents,
    older: Path,
    older_contents: Contents,
    older_report: PackReport,
    report: PackReport,
) -> None:
    """Compare the two logs; what is wrong with the older pack itself is one finding."""
    codes = sorted({finding.code for finding in older_report.findings} - TOLERATED)
    if codes:
        report.add("older_pack_invalid", "", f"{older} does not verify: {', '.join(codes)}")
        return
    try:
        before = parse_checkpoint(older_contents.kept[LOG_CHECKPOINT])
        after = parse_checkpoint(contents.kept[LOG_CHECKPOINT])
        hashes = [bytes.fromhex(line) for line in contents.kept[LOG_HASHES].decode().split()]
    except (KeyError, CheckpointError, ValueError):
        return  # this pack's own log is malformed, which is a finding already
    if before.origin != after.origin:
        message = f"{older} is of the log {before.origin}, this pack of {after.origin}"
        report.add("ledger_other_fleet", LOG_CHECKPOINT, message)
        return
    if before.size > after.size or len(hashes) != after.size:
        message = f"{older} knows a log of {before.size} leaves, this pack one of {after.size}"
        report.add("ledger_shorter", LOG_CHECKPOINT, message)
        return
    path = consistency_proof(hashes, before.size)
    try:
        verify_consistency(
            older=before.size, older_root=before.root, size=after.size, root=after.root, path=path
        )
    except ProofError as error:
        report.add("ledger_rewritten", LOG_HASHES, str(error))
        return
    report.continues = Continued(before.size, after.size, tuple(step.hex() for step in path))
