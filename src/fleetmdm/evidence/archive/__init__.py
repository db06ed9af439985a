"""A pack as one file, .tar.zst: written deterministically, read as what a stranger made.

    zstd frame with a checksum, window 2 MiB, no content size
    ustar, regular files alone, below evidence-pack/, in ascending order of their names,
    mode 0644, everything else zero or empty; two zero blocks at the end and nothing after

`tar --zstd -xf PACK` or `zstd -d < PACK | tar -x` unpacks it with nothing of ours.
Rule for editors: nothing of an archive is written before all of it has been looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetmdm.errors import FleetError

SUFFIX = ".tar.zst"
TOP = "evidence-pack/"
BLOCK_BYTES = 512
LEVEL = 3
WINDOW_LOG = 21


def is_archive_name(path: Path) -> bool:
    """Whether a path asks for the single-file form."""
    return path.name.endswith(SUFFIX)


def load_zstandard() -> Any:
    """The compression library; raises `missing_extra`."""
    try:
        import zstandard
    except ImportError as error:
        raise FleetError(
            "missing_extra",
            f"{SUFFIX} needs the extra [fleet]",
            hint="zstd -d < PACK | tar -x unpacks it; the folder needs no extra",
        ) from error
    return zstandard


def make_compressor(zstandard: Any) -> Any:
    """What compresses an archive; its settings are part of the form."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=WINDOW_LOG, write_checksum=1, write_content_size=0
    )
    return zstandard.ZstdCompressor(compression_params=parameters)
