"""A pack whose bytes hold: what every other reading of a pack starts from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive.read import refused, unpacked
from fleetmdm.evidence.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from fleetmdm.evidence.names import MANIFEST
from fleetmdm.evidence.records.commit import MAX_RECORD_BYTES
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from fleetmdm.evidence.verify.files import MAX_KEPT_BYTES
from fleetmdm.evidence.verify.tree import Tree, scan

TOLERATED = frozenset({"no_trust_anchor", "unsigned"})
"""Findings that say whom to trust, and nothing of the bytes."""


class SoundPack:
    """A folder of a pack that was verified a moment ago, all but trust.

    Raises `evidence_invalid` for a pack that does not hold. `path` is how its user knows it.
    """

    def __init__(self, root: Path, path: Path | None = None) -> None:
        self.root = root
        self.path = path or root
        # The time matters to trust alone, which is somebody else's to judge.
        self.report = verify_pack(root, Trust(None, (), datetime.fromtimestamp(0, UTC)))
        codes = sorted({finding.code for finding in self.report.findings} - TOLERATED)
        if codes:
            raise FleetError(
                "evidence_invalid",
                f"{self.path} does not verify: {', '.join(codes)}",
                hint="see `fleetmdm evidence verify`",
            )
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


@contextmanager
def sound_pack(path: Path) -> Iterator[SoundPack]:
    """A pack in a folder or an archive; raises `evidence_invalid` and `evidence_unreadable`."""
    report = PackReport()
    with unpacked(path, report) as root:
        if root is None:
            raise refused(path, report)
        yield SoundPack(root, path)
