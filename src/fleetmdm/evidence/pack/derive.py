"""Derive a further view of a pack without its signing key: the same manifest, fewer fields open.

The new view carries the signatures over the manifest and none over its own SHA256SUMS; it is
proven by the manifest's roots. Rule for editors: a view can only ever show less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive.write import pack_target
from fleetmdm.evidence.examine.sound import SoundPack, sound_pack
from fleetmdm.evidence.manifest import MAX_MANIFEST_BYTES, Whole, parse_manifest
from fleetmdm.evidence.names import (
    INVENTORY,
    MANIFEST,
    POPULATION,
    SIGNATURES,
    SUMS,
    VIEW,
)
from fleetmdm.evidence.pack.folder import PackFolder, refuse_existing
from fleetmdm.evidence.pack.guarded import GuardedNames
from fleetmdm.evidence.records.commit import MAX_RECORD_BYTES
from fleetmdm.evidence.records.narrow import Narrower
from fleetmdm.evidence.records.reading import LineReader
from fleetmdm.evidence.redact import Profile, Redaction, identifiers_in
from fleetmdm.evidence.rules import NO_RULES, Rules
from fleetmdm.evidence.sign import MAX_SIGNATURE_FILE_BYTES, OF_THE_VIEW, parse_signature_name
from fleetmdm.evidence.verify.tree import Tree
from fleetmdm.evidence.view import Shown, View, encode_sums, encode_view

_ORDER = tuple(Profile)
"""From the profile that shows most to the one that shows least."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What was written."""

    output: Path
    profile: Profile
    manifest_sha256: str
    shown: Mapping[str, Shown]


def derive_view(source: Path, output: Path, profile: Profile, rules: Rules = NO_RULES) -> Derived:
    """Write a view of the pack in `source` that shows no more than `profile` and `rules` allow.

    Raises `evidence_invalid` for a pack that does not verify, `evidence_unreadable`, and
    `redaction_impossible` for a profile that would show more than the pack does.
    """
    refuse_existing(output)
    with sound_pack(source) as pack:
        return _derive(pack, output, Redaction(profile, rules))


def _derive(pack: SoundPack, output: Path, redaction: Redaction) -> Derived:
    report, source, profile = pack.report, pack.path, redaction.profile
    if report.profile is None or _ORDER.index(profile) < _ORDER.index(Profile(report.profile)):
        raise FleetError(
            "redaction_impossible",
            f"{source} shows only what {report.profile} lets through, and cannot show {profile}",
            hint="export the run again with that profile",
        )
    with pack_target(output) as (root, finish):
        folder = PackFolder(root)
        digest = report.manifest_sha256 or ""
        _write(pack.tree, folder, redaction, digest)
        finish()
    return Derived(output, profile, digest, dict(folder.shown))


def _write(tree: Tree, folder: PackFolder, redaction: Redaction, manifest_sha256: str) -> None:
    data = tree.read(MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    for name, entry in manifest.files.items():
        if isinstance(entry, Whole):
            folder.write(name, tree.read(name, entry.size))
        else:
            _narrow(name, tree, folder, redaction)
    folder.write(MANIFEST, data)
    view = View(manifest_sha256, redaction.profile, True, folder.shown, redaction.rules)
    folder.write(VIEW, encode_view(view))
    folder.write(SUMS, encode_sums(folder.digests))
    (folder.root / SIGNATURES).mkdir(mode=0o700)
    prefix = f"{SIGNATURES}/"
    for name in sorted(name for name in tree.files if name.startswith(prefix)):
        parsed = parse_signature_name(name.removeprefix(prefix))
        if parsed is not None and parsed[1] not in OF_THE_VIEW:
            folder.write(name, tree.read(name, MAX_SIGNATURE_FILE_BYTES))


def _narrow(name: str, tree: Tree, folder: PackFolder, redaction: Redaction) -> None:
    names = None if name in (INVENTORY, POPULATION) else GuardedNames(_guarded(tree)).of
    narrower = Narrower(redaction, names)
    with folder.records(name) as writer, tree.open(name) as file:
        for line in iter(lambda: file.readline(MAX_RECORD_BYTES), b""):
            writer.add(narrower.narrow(line))


def _guarded(tree: Tree) -> Iterator[tuple[str, frozenset[str]]]:
    """The names that the inventory still shows; one that shows none was guarded at export."""
    reader = LineReader()
    with tree.open(INVENTORY) as file:
        for line in iter(lambda: file.readline(MAX_RECORD_BYTES), b""):
            taken = reader.read(line)
            shown = dict(zip(taken.names, taken.values, strict=True))
            if b"device_id" in shown:
                names = [json.loads(shown[each]) for each in _TOP_NAMES if each in shown]
                yield names[0], identifiers_in(iter(names))


_TOP_NAMES = (b"device_id", b"hostname", b"serial")
