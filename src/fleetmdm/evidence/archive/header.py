"""The one header that a file has in an archive of ours, and what is wrong with any other. Pure."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

from fleetmdm.evidence.archive import BLOCK_BYTES, TOP
from fleetmdm.evidence.manifest import is_safe_name

MAX_FILE_BYTES = 8 * 1024**3 - 1
"""What eleven octal digits hold: ustar's longest file."""

_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Entry:
    """One header read back: `code` and `message` say what is wrong with it, if anything."""

    name: str
    size: int
    code: str = ""
    message: str = ""


def encode_header(name: str, size: int) -> bytes:
    """The header of a regular file of a pack."""
    info = tarfile.TarInfo(TOP + name)
    info.size, info.mode = size, _MODE
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def parse_header(block: bytes) -> Entry | None:
    """Read a header block; None where its checksum does not hold, or its size cannot be."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    printable = ascii(info.name)[1:-1]
    if not 0 <= info.size <= MAX_FILE_BYTES:
        return None
    if info.type != tarfile.REGTYPE:
        message = f"an entry of type {info.type.decode('latin-1')!a}, where files alone belong"
        return Entry(printable, info.size, "file_not_regular", message)
    name = info.name.removeprefix(TOP)
    if name == info.name or not is_safe_name(name):
        return Entry(printable, info.size, "name_unsafe")
    if block != encode_header(name, info.size):
        message = "the header says more than name and size"
        return Entry(name, info.size, "archive_not_canonical", message)
    return Entry(name, info.size)


def padding_of(size: int) -> int:
    """Zero bytes after a file's content."""
    return -size % BLOCK_BYTES
