"""A pack held in memory, to be spoilt thousands of times a minute."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fleetmdm.evidence.verify import PackReport, Trust, verify_tree
from fleetmdm.evidence.verify.tree import Tree


class MemoryTree(Tree):
    """Files by name, read from memory and otherwise as from a folder."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(Path("memory"), {name: len(data) for name, data in contents.items()})
        self.contents = contents

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """One file."""
        yield io.BytesIO(self.contents[name])


def load_pack(root: Path) -> dict[str, bytes]:
    """The files of a pack by name."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def findings(contents: dict[str, bytes], trust: Trust) -> list[tuple[str, str]]:
    """(code, file) of everything that is wrong."""
    report = PackReport()
    verify_tree(MemoryTree(contents), trust, report)
    return [(each.code, each.file) for each in report.findings]


def flip(data: bytes, at: int) -> bytes:
    """The same with one bit of one byte turned."""
    spoilt = bytearray(data)
    spoilt[at] ^= 1 << at % 8
    return bytes(spoilt)


def find_missed(
    contents: dict[str, bytes], trust: Trust, places: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Of these (file, byte), flipped one at a time, those of which `verify` finds nothing."""
    return [
        (name, at)
        for name, at in places
        if not findings({**contents, name: flip(contents[name], at)}, trust)
    ]
