"""Reading a pack that a stranger made: what is there, opened without following anything.

Rule for editors: no path is opened that `scan` did not list, and no link is ever followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fleetmdm.errors import FleetError
from fleetmdm.evidence.manifest import MAX_FILES, is_safe_name
from fleetmdm.evidence.names import FOLDERS
from fleetmdm.evidence.verify.findings import PackReport

# Not every system has each of these; without them the check after opening still stands.
_OPEN_FLAGS = os.O_RDONLY
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _name, 0)


@dataclass(slots=True)
class Tree:
    """The regular files of a pack, by name with "/" between parts, with their sizes."""

    root: Path
    files: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A listed file; raises OSError when it is no regular file any more."""
        descriptor = os.open(self.root / name, _OPEN_FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{name} is not a regular file")
            yield file

    def read(self, name: str, max_bytes: int) -> bytes:
        """A whole small file; raises OSError, for one that is too long too."""
        with self.open(name) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise OSError(f"{name} is longer than {max_bytes} bytes")
        return data


def scan(root: Path, report: PackReport, *, max_files: int = MAX_FILES) -> Tree:
    """List a pack's files; raises `input_not_found` or `evidence_unreadable` for what is none."""
    if not root.exists():
        raise FleetError("input_not_found", f"no such evidence pack: {root}", hint="check the path")
    if not root.is_dir():
        raise FleetError(
            "evidence_unreadable",
            f"{root} is not a pack",
            hint="name a folder, or a file that ends in .tar.zst",
        )
    tree = Tree(root)
    try:
        _scan_folder(tree, "", max_files, report)
    except OSError as error:
        raise FleetError(
            "evidence_unreadable", f"cannot read {root}: {error.strerror}", hint="check permissions"
        ) from error
    _check_case(tree, report)
    return tree


def _scan_folder(tree: Tree, prefix: str, max_files: int, report: PackReport) -> None:
    with os.scandir(tree.root / prefix) as entries:
        for entry in entries:
            if len(tree.files) >= max_files:
                report.add("too_many_files", prefix)
                return
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if _is_folder(tree, name, entry, report):
                _scan_folder(tree, name, max_files, report)


def _is_folder(tree: Tree, name: str, entry: os.DirEntry[str], report: PackReport) -> bool:
    """Take in one entry; True when it is a folder that packs have."""
    printable = ascii(name)[1:-1]
    mode = entry.stat(follow_symlinks=False)
    if not is_safe_name(name):
        report.add("name_unsafe", printable)
    elif stat.S_ISREG(mode.st_mode):
        tree.files[name] = mode.st_size
    elif not stat.S_ISDIR(mode.st_mode):
        report.add("file_not_regular", name)
    elif name in FOLDERS:
        return True
    else:
        report.add("file_unexpected", name, "a folder that no pack has")
    return False


def _check_case(tree: Tree, report: PackReport) -> None:
    seen: dict[str, str] = {}
    for name in sorted(tree.files):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            report.add("name_collision", name, f"{name} and {other} differ in letter case alone")
