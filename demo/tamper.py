"""Flip one byte in every file of a pack and see that the right tool refuses each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
    signed = listed = 0
    for original in sorted(path for path in pack.rglob("*") if path.is_file()):
        relative = original.relative_to(pack)
        if original.stat().st_size == 0 or relative.parts[0] == "signatures":
            continue
        copy = folder / "tampered"
        shutil.copytree(pack, copy)
        flip(copy / relative)
        if str(relative) in SIGNED:
            ssh_keygen_verify(copy, allowed, SIGNED[str(relative)], (255,))
            signed += 1
        else:
            run("sha256sum", "--quiet", "-c", "SHA256SUMS", cwd=copy, expect=(1,))
            listed += 1
        verify_ours(copy, allowed, (1, 3))
        shutil.rmtree(copy)
    claim(signed == len(SIGNED), "both signed files were tried")
    return (
        f"ssh-keygen refused {signed} of {signed} signed files, "
        f"sha256sum {listed} of {listed} others, fleetmdm all {signed + listed}"
    )


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
