"""Every byte of a pack against its manifest and its SHA256SUMS; each file is read once.

Rule for editors: memory does not grow with a file of records, and a fault in one file never keeps
another from being checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from clikit.crew import Crew, spare_cores
from fleetmdm.evidence.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    Records,
    Whole,
    parse_manifest,
)
from fleetmdm.evidence.names import (
    AGENT_AUDIT,
    DRIFT,
    LOG_CHECKPOINT,
    LOG_HASHES,
    LOG_INCLUSION,
    LOG_LEAF,
    MANIFEST,
    METADATA,
    OPTIONAL_FILES,
    OPTIONAL_RECORDS,
    POLICIES,
    RECONCILIATION,
    RECORD_FILES,
    RUN,
    SIGNATURES,
    SUMS,
    VIEW,
    WHOLE_FILES,
)
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.verify.findings import PackReport
from fleetmdm.evidence.verify.records import (
    MAX_BAD_RECORDS,
    Block,
    Lines,
    check_together,
    read_lines,
)
from fleetmdm.evidence.verify.tree import Tree
from fleetmdm.evidence.view import (
    MAX_SUMS_BYTES,
    MAX_VIEW_BYTES,
    Shown,
    View,
    ViewError,
    parse_sums,
    parse_view,
)
from fleetmdm.ledger.merkle import TreeHasher

KEPT_FILES = frozenset(
    {
        *(AGENT_AUDIT, DRIFT, METADATA, RECONCILIATION, RUN),
        *(LOG_CHECKPOINT, LOG_HASHES, LOG_INCLUSION, LOG_LEAF),
    }
)
"""Whole files whose content is checked against that of others."""

MAX_KEPT_BYTES = 256 * 1024 * 1024
"""Longest such file: a log of four million leaves."""

LEAST_BYTES = 32 * 1024 * 1024
"""Of all records: with fewer, this process is done before another has begun to be of use."""

_CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Contents:
    """What was read of a pack; None where it is missing or malformed."""

    manifest: Manifest | None = None
    manifest_bytes: bytes | None = None
    view: View | None = None
    sums: Mapping[str, str] | None = None
    sums_bytes: bytes | None = None
    kept: dict[str, bytes] = field(default_factory=dict)


def read_contents(tree: Tree, report: PackReport) -> Contents:
    """The three lists, then every file against them."""
    contents = Contents()
    _read_manifest(tree, contents, report)
    _read_sums(tree, contents, report)
    _read_view(tree, contents, report)
    if contents.manifest is not None:
        _check_manifest(contents.manifest, report)
    _check_names(tree, contents, report)
    large = sum(tree.files.get(name, 0) for name in RECORD_FILES) >= LEAST_BYTES
    with check_together(_redaction(contents), spare_cores() if large else 0) as crew:
        for name in sorted(tree.files):
            if not name.startswith(f"{SIGNATURES}/") and name != SUMS:
                report.files += 1
                _check_file(name, tree, contents, crew, report)
    return contents


def _read_small(tree: Tree, name: str, max_bytes: int, report: PackReport) -> bytes | None:
    if name not in tree.files:
        report.add("file_missing", name)
        return None
    try:
        return tree.read(name, max_bytes)
    except OSError as error:
        report.add("file_unreadable", name, str(error))
        return None


def _read_manifest(tree: Tree, contents: Contents, report: PackReport) -> None:
    data = _read_small(tree, MANIFEST, MAX_MANIFEST_BYTES, report)
    if data is None:
        return
    contents.manifest_bytes = data
    report.manifest_sha256 = hashlib.sha256(data).hexdigest()
    try:
        contents.manifest = parse_manifest(data)
    except ManifestError as error:
        report.add(error.code, MANIFEST, str(error))


def _read_sums(tree: Tree, contents: Contents, report: PackReport) -> None:
    contents.sums_bytes = _read_small(tree, SUMS, MAX_SUMS_BYTES, report)
    if contents.sums_bytes is not None:
        try:
            contents.sums = parse_sums(contents.sums_bytes)
        except ViewError as error:
            report.add(error.code, SUMS, str(error))


def _read_view(tree: Tree, contents: Contents, report: PackReport) -> None:
    data = _read_small(tree, VIEW, MAX_VIEW_BYTES, report)
    if data is not None:
        try:
            contents.view = view = parse_view(data)
        except ViewError as error:
            report.add(error.code, VIEW, str(error))
            return
        report.profile, report.derived, report.rules = view.profile.value, view.derived, view.rules


def _check_manifest(manifest: Manifest, report: PackReport) -> None:
    """A manifest lists all that every pack has, as what it is, and nothing unheard of."""
    for name in sorted(WHOLE_FILES | set(RECORD_FILES)):
        wanted = Whole if name in WHOLE_FILES else Records
        if not isinstance(manifest.files.get(name), wanted):
            message = f"{MANIFEST} does not list {name} as {wanted.__name__.lower()}"
            report.add("manifest_incomplete", name, message)
    for name, entry in manifest.files.items():
        free = name.startswith(f"{POLICIES}/") or name in OPTIONAL_FILES
        if (
            not (free and isinstance(entry, Whole))
            and not (name in OPTIONAL_RECORDS and isinstance(entry, Records))
            and name not in WHOLE_FILES
            and name not in RECORD_FILES
        ):
            message = f"{MANIFEST} lists {name}, which no pack of this version has"
            report.add("manifest_malformed", name, message)


def _check_names(tree: Tree, contents: Contents, report: PackReport) -> None:
    """Folder, manifest and sums must name the same files."""
    present = {name for name in tree.files if not name.startswith(f"{SIGNATURES}/")}
    if contents.manifest is not None:
        listed = {*contents.manifest.files, MANIFEST, VIEW, SUMS}
        for name in sorted(present - listed):
            report.add("file_unexpected", name)
        for name in sorted(listed - present - {MANIFEST, VIEW, SUMS}):
            report.add("file_missing", name)
        present = listed
    if contents.sums is not None:
        for name in sorted(present - {SUMS} - set(contents.sums)):
            report.add("sums_incomplete", name)
        for name in sorted(set(contents.sums) - present | set(contents.sums) & {SUMS}):
            report.add("sums_unexpected", name)


def _check_file(
    name: str, tree: Tree, contents: Contents, crew: Crew[Lines, Block], report: PackReport
) -> None:
    entry = contents.manifest.files.get(name) if contents.manifest is not None else None
    if not _is_worth_reading(name, tree, contents):
        return
    if isinstance(entry, Whole) and tree.files[name] != entry.size:
        message = f"{tree.files[name]} bytes, {entry.size} are listed"
        report.add("file_size", name, message)
        return
    try:
        with tree.open(name) as file:
            if isinstance(entry, Records):
                digest: str | None = _check_records(name, file, entry, contents, crew, report)
            else:
                digest = _hash_whole(name, file, contents)
    except OSError as error:
        report.add("file_unreadable", name, str(error))
        return
    if isinstance(entry, Whole) and digest != entry.sha256:
        report.add("file_altered", name, f"not the file that {MANIFEST} lists")
    listed = contents.sums.get(name) if contents.sums is not None else None
    if digest is not None and listed is not None and digest != listed:
        report.add("sums_mismatch", name)


def _is_worth_reading(name: str, tree: Tree, contents: Contents) -> bool:
    """False for what is refused already: a stranger's file can be of any size."""
    limits = {MANIFEST: MAX_MANIFEST_BYTES, VIEW: MAX_VIEW_BYTES}
    if name in limits:
        return tree.files[name] <= limits[name]
    if contents.manifest is not None:
        return name in contents.manifest.files
    return contents.sums is not None and name in contents.sums


def _hash_whole(name: str, file: BinaryIO, contents: Contents) -> str:
    hasher = hashlib.sha256()
    kept = bytearray()
    while chunk := file.read(_CHUNK_BYTES):
        hasher.update(chunk)
        if name in KEPT_FILES and len(kept) <= MAX_KEPT_BYTES:
            kept += chunk
    if name in KEPT_FILES:
        contents.kept[name] = bytes(kept)
    return hasher.hexdigest()


def _check_records(
    name: str,
    file: BinaryIO,
    entry: Records,
    contents: Contents,
    crew: Crew[Lines, Block],
    report: PackReport,
) -> str | None:
    """Check every record; answers the file's digest, or None where its end was not read."""
    hasher = hashlib.sha256()
    merkle = TreeHasher()
    opened = hidden = lines = bad = 0
    for block in crew.do(read_lines(file, entry.count, hasher)):
        merkle.add_hashes(block.leaves)
        opened, hidden = opened + block.opened, hidden + block.hidden
        for number, problem in block.malformed[: MAX_BAD_RECORDS - bad]:
            bad += 1
            report.add("record_malformed", name, f"line {lines + number + 1}: {problem}")
        for number, path in block.shows_more:
            report.add("view_shows_more", name, f"line {lines + number + 1}: {path}")
        lines += block.lines
    if file.read(1):
        message = f"more than the {entry.count} records that are listed"
        report.add("record_count_mismatch", name, message)
        return None
    _check_commitment(name, entry, merkle, lines, report)
    _check_shown(name, Shown(opened, hidden), contents, report)
    return hasher.hexdigest()


def _redaction(contents: Contents) -> Redaction:
    """What the view says that it shows; all, where it says nothing."""
    return Redaction(Profile.NONE) if contents.view is None else contents.view.redaction


def _check_commitment(
    name: str, entry: Records, merkle: TreeHasher, lines: int, report: PackReport
) -> None:
    if lines != entry.count:
        message = f"{lines} records, {entry.count} are listed"
        report.add("record_count_mismatch", name, message)
    if merkle.root().hex() != entry.root:
        report.add("record_root_mismatch", name)


def _check_shown(name: str, shown: Shown, contents: Contents, report: PackReport) -> None:
    report.shown[name] = shown
    if contents.view is not None and contents.view.records.get(name) != shown:
        message = f"{VIEW} does not say that {name} shows {shown.opened} and hides {shown.hidden}"
        report.add("view_mismatch", VIEW, message)
