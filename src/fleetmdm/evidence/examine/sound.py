"""A pack whose bytes hold: what every other reading of a pack starts from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetmdm.errors import FleetError
from fleetmdm.evidence.commit import MAX_RECORD_BYTES
from fleetmdm.evidence.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from fleetmdm.evidence.names import MANIFEST
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from fleetmdm.evidence.verify.files import MAX_KEPT_BYTES
from fleetmdm.evidence.verify.tree import Tree, scan

TOLERATED = frozenset({"no_trust_anchor", "unsigned"})
"""Findings that say whom to trust, and nothing of the bytes."""


def require_sound(root: Path) -> PackReport:
    """Verify all but trust; raises `evidence_invalid` for a pack that does not hold."""
    # The time matters to trust alone, which is somebody else's to judge.
    report = verify_pack(root, Trust(None, (), datetime.fromtimestamp(0, UTC)))
    codes = sorted({finding.code for finding in report.findings} - TOLERATED)
    if codes:
        raise FleetError(
            "evidence_invalid",
            f"{root} does not verify: {', '.join(codes)}",
            hint="see `fleetmdm evidence verify`",
        )
    return report


class SoundPack:
    """A pack that was verified a moment ago."""

    def __init__(self, root: Path) -> None:
        self.report = require_sound(root)
        self.root = root
        self.tree: Tree = scan(root, PackReport())
        self.manifest: Manifest = parse_manifest(self.tree.read(MANIFEST, MAX_MANIFEST_BYTES))

    def read(self, name: str) -> bytes:
        """A whole file."""
        return self.tree.read(name, MAX_KEPT_BYTES)

    def document(self, name: str) -> dict[str, Any]:
        """A whole file that is a JSON object."""
        value: dict[str, Any] = json.loads(self.read(name))
        return value

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file of records."""
        with self.tree.open(name) as file:
            yield from iter(lambda: file.readline(MAX_RECORD_BYTES), b"")
