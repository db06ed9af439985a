"""Flip one byte in every file of a pack and see that the right tool refuses each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from account import claim, run

SIGNED = {"manifest.json": "manifest", "SHA256SUMS": "sums"}


def every_flip_is_refused(
    pack: Path,
    folder: Path,
    allowed: Path,
    verify_ours: Callable[[Path, Path, tuple[int, ...]], None],
    ssh_keygen_verify: Callable[[Path, Path, str, tuple[int, ...]], None],
) -> str:
    """What was tried, in one line; ends the demo where a flip goes unnoticed."""

    def is_refused(relative: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            copy = Path(name) / "pack"
            shutil.copytree(pack, copy)
            flip(copy / relative)
            if str(relative) in SIGNED:
                ssh_keygen_verify(copy, allowed, SIGNED[str(relative)], (255,))
            else:
                run("sha256sum", "--quiet", "-c", "SHA256SUMS", cwd=copy, expect=(1,))
            verify_ours(copy, allowed, (1, 3))

    files = flippable(pack)
    signed = sum(str(relative) in SIGNED for relative in files)
    claim(signed == len(SIGNED), "both signed files are tried")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A list, for the first claim that does not hold is raised where its result is taken.
        list(pool.map(is_refused, files))
    return (
        f"ssh-keygen refused {signed} of {signed} signed files, "
        f"sha256sum {len(files) - signed} of {len(files) - signed} others, "
        f"fleetmdm all {len(files)}"
    )


def flippable(pack: Path) -> list[Path]:
    """Every file that SHA256SUMS lists or that is signed, and that has a byte to flip."""
    return [
        path.relative_to(pack)
        for path in sorted(pack.rglob("*"))
        if path.is_file() and path.stat().st_size and path.parent.name != "signatures"
    ]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
