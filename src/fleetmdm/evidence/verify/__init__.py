"""Verify a pack: every byte, every signature, and whether its files tell one story.

All findings are collected, each with a code of `findings.CODES`. Works offline and with nothing
but the base install.
"""

from __future__ import annotations

from pathlib import Path

from fleetmdm.evidence.verify.content import check_story
from fleetmdm.evidence.verify.files import read_contents
from fleetmdm.evidence.verify.findings import CODES, PackFinding, PackReport
from fleetmdm.evidence.verify.tree import scan
from fleetmdm.evidence.verify.trust import Trust, check_signatures

__all__ = ["CODES", "PackFinding", "PackReport", "Trust", "verify_pack"]


def verify_pack(root: Path, trust: Trust) -> PackReport:
    """Check the pack in a folder. Raises only for what is no folder that can be read."""
    report = PackReport()
    tree = scan(root, report)
    contents = read_contents(tree, report)
    check_signatures(tree, contents, trust, report)
    check_story(contents, report)
    return report
