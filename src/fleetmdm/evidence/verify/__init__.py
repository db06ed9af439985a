"""Verify a pack: every byte, every signature, and whether its files tell one story.

All findings are collected, each with a code of `findings.CODES`. Works offline and with nothing
but the base install.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fleetmdm.evidence.verify.content import check_story
from fleetmdm.evidence.verify.files import Contents, read_contents
from fleetmdm.evidence.verify.findings import CODES, WARNINGS, PackFinding, PackReport
from fleetmdm.evidence.verify.since import check_since
from fleetmdm.evidence.verify.tree import Tree, scan
from fleetmdm.evidence.verify.trust import Trust, check_signatures

__all__ = ["CODES", "WARNINGS", "PackFinding", "PackReport", "Trust", "verify_pack", "verify_tree"]


def verify_pack(root: Path, trust: Trust, *, older: Path | None = None) -> PackReport:
    """Check the pack in a folder, and that its log continues that of an older pack.

    Raises only for what is no folder that can be read.
    """
    report = PackReport()
    contents = verify_tree(scan(root, report), trust, report)
    if older is not None:
        older_report = PackReport()
        # The time matters to trust alone, and the older pack is the verifier's own.
        nobody = Trust(None, (), datetime.fromtimestamp(0, UTC))
        older_contents = verify_tree(scan(older, older_report), nobody, older_report)
        check_since(contents, older, older_contents, older_report, report)
    return report


def verify_tree(tree: Tree, trust: Trust, report: PackReport) -> Contents:
    """Check the files of a pack, wherever they are read from."""
    contents = read_contents(tree, report)
    check_signatures(tree, contents, trust, report)
    check_story(contents, report)
    return contents
