"""Inventory files on disk and on stdin: found, opened, decompressed, brought to UTF-8.

Rule for editors: a file is only ever read in chunks; what is compressed, or UTF-16 (as PowerShell
and spreadsheets write it), is told by its first bytes, never by its name.
"""

from __future__ import annotations

import codecs
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from fleetmdm.errors import FleetError
from fleetmdm.ingest.read import InventoryFile

CHUNK_BYTES = 256 * 1024

MAX_STREAM_BYTES = 64 * 1024**3
"""What one file may hold after decompression: a bomb ends here."""

SUFFIXES = frozenset({".json", ".ndjson", ".jsonl", ".gz", ".zst"})
"""Names that are read when a folder is given."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


STDIN_NAME = "<stdin>"


@contextmanager
def open_inventory(
    paths: Sequence[str], stdin: BinaryIO, *, suffixes: frozenset[str] = SUFFIXES
) -> Iterator[list[InventoryFile]]:
    """Every file that the arguments name, folders in the order of their entries, `-` as stdin.

    Of a folder, files with one of `suffixes` are read; with none of them, all that are not hidden.

    Raises `input_not_found` before anything is read; a stream that fails later raises
    `input_unreadable` when it is drawn from.
    """
    with ExitStack() as stack:
        files: list[InventoryFile] = []
        for path in dict.fromkeys(paths):
            if path == "-":
                files.append(_spooled(STDIN_NAME, stdin, stack))
            else:
                files += [_on_disk(found, stack) for found in _find(Path(path), suffixes)]
        yield files


def _find(path: Path, suffixes: frozenset[str]) -> list[Path]:
    if not path.exists():
        raise FleetError(
            "input_not_found", f"{path}: there is no such file or folder", hint="check the path"
        )
    if not path.is_dir():
        return [path]
    found = list_folder(path, suffixes)
    if not found:
        hint = f"files are told by their suffix: {', '.join(sorted(suffixes))}" if suffixes else ""
        raise FleetError("input_not_found", f"{path}: the folder has no inventory file", hint=hint)
    return found


def list_folder(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """The inventory files of a folder, by name."""
    return sorted(
        one
        for one in path.iterdir()
        if (one.suffix in suffixes or not suffixes)
        and not one.name.startswith(".")
        and one.is_file()
    )


def _on_disk(path: Path, stack: ExitStack) -> InventoryFile:
    if not path.is_file():
        # A pipe or a device gives its bytes once.
        with path.open("rb") as pipe:
            return _spooled(str(path), pipe, stack)

    def chunks() -> Iterator[bytes]:
        try:
            file = path.open("rb")
        except OSError as error:
            raise _unreadable(str(path), error.strerror or str(error)) from error
        with file:
            yield from _read(file, str(path))

    return InventoryFile(str(path), chunks, _modified(path))


def _modified(path: Path) -> datetime:
    # Whole seconds: what a copy or an archive keeps.
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def _spooled(name: str, pipe: BinaryIO, stack: ExitStack) -> InventoryFile:
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack is the manager
    shutil.copyfileobj(pipe, spool, CHUNK_BYTES)

    def chunks() -> Iterator[bytes]:
        spool.seek(0)
        yield from _read(cast("BinaryIO", spool), name)

    return InventoryFile(name, chunks)


def _read(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        yield from _bounded(_as_utf8(_decompressed(file)), name)
    except UnicodeDecodeError as error:
        raise _unreadable(name, f"begins as UTF-16 and is not: {error.reason}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(name, str(error)) from error


def _as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """UTF-16 that bears its mark, as UTF-8; everything else as it is."""
    stream = iter(chunks)
    first = next(stream, b"")
    if not first.startswith(_UTF16) or first.startswith(codecs.BOM_UTF32_LE):
        yield from chain((first,), stream)
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    for chunk in chain((first,), stream, (b"",)):
        yield decoder.decode(chunk, final=not chunk).encode()


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield from _chunks(unzipped)
    elif magic == _ZSTD:
        yield from _zstd_chunks(file)
    else:
        yield from _chunks(file)


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    try:
        yield from _chunks(reader)
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error


def _chunks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _bounded(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MAX_STREAM_BYTES:
            raise _unreadable(name, f"more than {MAX_STREAM_BYTES} bytes after decompression")
        yield chunk


def _unreadable(name: str, reason: str) -> FleetError:
    return FleetError(
        "input_unreadable", f"{name}: {reason}", hint="check the file and its permissions"
    )
