"""Write a folder of a pack as one file: the same files give the same bytes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clikit.output import atomic_file
from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive import BLOCK_BYTES, is_archive_name, load_zstandard, make_compressor
from fleetmdm.evidence.archive.header import MAX_FILE_BYTES, encode_header, padding_of
from fleetmdm.evidence.pack.folder import atomic_folder, refuse_existing

Finish = Callable[[], None]


def write_archive(folder: Path, file: BinaryIO) -> None:
    """Stream every file below `folder`, in ascending order of the names."""
    compressor = make_compressor(load_zstandard())
    with compressor.stream_writer(file, closefd=False) as out:
        for name in _names(folder):
            _write_file(folder / name, name, out)
        out.write(bytes(2 * BLOCK_BYTES))


def _names(folder: Path) -> list[str]:
    return sorted(
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _write_file(path: Path, name: str, out: BinaryIO) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise FleetError(
            "output_failed",
            f"{name} is too long for an archive: {size} bytes",
            hint="write a folder",
        )
    out.write(encode_header(name, size))
    with path.open("rb") as file:
        shutil.copyfileobj(file, out, 1024 * 1024)
    out.write(bytes(padding_of(size)))


@contextmanager
def pack_target(path: Path) -> Iterator[tuple[Path, Finish]]:
    """A folder to fill, which becomes `path`: as it is, or as one file where the name asks for it.

    The function that comes with it is called when the folder is complete and before the block
    ends: it does what can fail for want of room. Raises `output_exists`.
    """
    if not is_archive_name(path):
        with atomic_folder(path) as root:
            yield root, lambda: None
        return
    refuse_existing(path)
    load_zstandard()
    with atomic_file(path) as file:
        folder = path.with_name(f".{path.name}.{secrets.token_hex(6)}.files")
        try:
            folder.mkdir(mode=0o700)
            yield folder, lambda: write_archive(folder, file)
            refuse_existing(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
