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


def verify_pack(path: Path, trust: Trust, *, older: Path | None = None) -> PackReport:
    """Check a pack, a folder or a .tar.zst file, and that its log continues an older pack's.

    Raises only for what cannot be read at all.
    """
    report = PackReport()
    contents = _verify(path, trust, report)
    if older is not None and contents is not None:
        older_report = PackReport()
        # The time matters to trust alone, and the older pack is the verifier's own.
        nobody = Trust(None, (), datetime.fromtimestamp(0, UTC))
        older_contents = _verify(older, nobody, older_report) or Contents()
        check_since(contents, older, older_contents, older_report, report)
    return report


def _verify(path: Path, trust: Trust, report: PackReport) -> Contents | None:
    # It reports in the words of this package, so it cannot be imported before it.
    from fleetmdm.evidence.archive.read import unpacked

    with unpacked(path, report) as root:
        return None if root is None else verify_tree(scan(root, report), trust, report)


def verify_tree(tree: Tree, trust: Trust, report: PackReport) -> Contents:
    """Check the files of a pack, wherever they are read from."""
    contents = read_contents(tree, report)
    check_signatures(tree, contents, trust, report)
    check_story(contents, report)
    return contents
