"""Read an archive that a stranger made: first all of it is looked at, then it is unpacked.

Rule for editors: sizes are bounded by what was read so far, never by what the archive says of
itself, and a name is used only once it is known to be safe and new.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clikit.output import atomic_file
from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive import (
    BLOCK_BYTES,
    WINDOW_LOG,
    is_archive_name,
    load_zstandard,
    make_compressor,
)
from fleetmdm.evidence.archive.header import Entry, padding_of, parse_header
from fleetmdm.evidence.archive.write import write_archive
from fleetmdm.evidence.manifest import MAX_FILES
from fleetmdm.evidence.verify.findings import PackReport

FRAME_HEADER = b"\x28\xb5\x2f\xfd\x04" + bytes([(WINDOW_LOG - 10) << 3])
"""RFC 8878 section 3.1.1: magic number, a checksum and no size, the window."""

FREE_BYTES = 32 * 1024 * 1024
MAX_RATIO = 200
"""Beyond `FREE_BYTES`, an archive may be so many times as long as its file; packs are ten."""

_CHUNK_BYTES = 1024 * 1024


class _Fault(Exception):  # noqa: N818 - a finding, not an error of the program
    """What ends the reading of an archive."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Mirror:
    """Compresses again what was decompressed, and compares with the file.

    There are several compressed forms of the same bytes, and the checksum is over the bytes: only
    this shows that the form is ours. Another release of the library may write another form.
    """

    def __init__(self, file: BinaryIO) -> None:
        zstandard = load_zstandard()
        self._flush = zstandard.COMPRESSOBJ_FLUSH_FINISH
        self._compressor = make_compressor(zstandard).compressobj()
        self._file = file
        self.equal = True

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._compare(self._compressor.compress(data))

    def finish(self) -> None:
        """No more bytes."""
        self._compare(self._compressor.flush(self._flush))

    def _compare(self, data: bytes) -> None:
        if self.equal:
            self.equal = self._file.read(len(data)) == data


class _Stream:
    """The bytes of the tar archive, counted."""

    def __init__(self, file: BinaryIO, mirror: _Mirror | None = None) -> None:
        if file.read(len(FRAME_HEADER)) != FRAME_HEADER:
            raise _Fault("archive_malformed", "not a zstd frame of the form of packs")
        file.seek(0)
        self._file = file
        self._zstd = load_zstandard()
        decompressor = self._zstd.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
        self._reader: Any = decompressor.stream_reader(file, read_across_frames=False)
        self._read = 0
        self._mirror = mirror

    def take(self, size: int) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while size:
            try:
                data: bytes = self._reader.read(min(size, _CHUNK_BYTES))
            except self._zstd.ZstdError as error:
                raise _Fault("archive_malformed", f"cannot be decompressed: {error}") from error
            if not data:
                break
            parts.append(data)
            size -= len(data)
            if self._mirror is not None:
                self._mirror.add(data)
            self._read += len(data)
            if self._read > FREE_BYTES + MAX_RATIO * self._file.tell():
                raise _Fault("archive_bomb", f"more than {MAX_RATIO} times as long as its file")
        return b"".join(parts)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes, in pieces."""
        while size:
            data = self.take(min(size, _CHUNK_BYTES))
            if not data:
                raise _Fault("archive_malformed", "a file is cut off")
            size -= len(data)
            yield data

    def finish(self) -> None:
        """Nothing may follow: neither in the frame, nor after it in the file."""
        if self.take(1):
            raise _Fault("archive_not_canonical", "something follows the end of the archive")
        end = self._file.tell()
        # The frame's end is found by decompressing once more from its last bytes on.
        if _frame_bytes(self._file, self._zstd) != end or self._file.read(1):
            raise _Fault("archive_not_canonical", "something follows the compressed data")


def _frame_bytes(file: BinaryIO, zstandard: Any) -> int:
    """How many bytes of the file its first frame takes."""
    file.seek(0)
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).decompressobj()
    total = 0
    while chunk := file.read(_CHUNK_BYTES):
        decompressor.decompress(chunk)
        total += len(chunk)
        if decompressor.eof:
            return total - len(decompressor.unused_data)
    return total


def _entries(stream: _Stream) -> Iterator[Entry]:
    """Every header; the caller takes the content and the padding after each."""
    while True:
        block = stream.take(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise _Fault("archive_malformed", "the archive has no end")
        if not any(block):
            if any(stream.take(BLOCK_BYTES)):
                raise _Fault("archive_malformed", "a single zero block amid the archive")
            return
        entry = parse_header(block)
        if entry is None:
            raise _Fault(
                "archive_malformed", "a header's checksum does not hold, or its size cannot be"
            )
        yield entry


def inspect_archive(path: Path, report: PackReport) -> bool:
    """Look at all of an archive; True when nothing is wrong with it. Nothing is written."""
    before = len(report.findings)
    try:
        with path.open("rb") as file, path.open("rb") as again:
            mirror = _Mirror(again)
            stream = _Stream(file, mirror)
            names = _Names()
            for entry in _entries(stream):
                names.check(entry, report)
                for _ in stream.chunks(entry.size):
                    pass
                if any(stream.take(padding_of(entry.size))):
                    report.add("archive_not_canonical", entry.name, "padding that is not zero")
            stream.finish()
            mirror.finish()
            if not mirror.equal:
                report.add("archive_recompressed", "")
    except _Fault as fault:
        report.add(fault.code, "", str(fault))
    except OSError as error:
        raise _unreadable(path, error) from error
    return len(report.findings) == before


class _Names:
    """The names met so far."""

    def __init__(self) -> None:
        self._folded: dict[str, str] = {}
        self._last = ""

    def check(self, entry: Entry, report: PackReport) -> None:
        """Note the next entry, and what is wrong with it."""
        if len(self._folded) >= MAX_FILES:
            raise _Fault("too_many_files", f"more than {MAX_FILES} files")
        if entry.code:
            report.add(entry.code, entry.name, entry.message)
        folded = entry.name.casefold()
        other = self._folded.get(folded)
        if other == entry.name:
            report.add("name_duplicate", entry.name)
        elif other is not None:
            message = f"{entry.name} and {other} differ in letter case alone"
            report.add("name_collision", entry.name, message)
        elif entry.name < self._last and not entry.code:
            message = "the files are not in ascending order"
            report.add("archive_not_canonical", entry.name, message)
        self._folded[folded] = entry.name
        self._last = entry.name


@contextmanager
def unpacked(path: Path, report: PackReport) -> Iterator[Path | None]:
    """The folder of a pack: itself, or what an archive holds for as long as the block lasts.

    None where something is wrong with the archive, which then stands in the report.
    """
    if path.is_dir() or not is_archive_name(path):
        yield path
        return
    if not path.exists():
        raise FleetError("input_not_found", f"no such evidence pack: {path}", hint="check the path")
    if not inspect_archive(path, report):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fleetmdm-pack-") as name:
        folder = Path(name)
        try:
            _extract(path, folder)
        except _Fault as fault:
            raise FleetError("evidence_unreadable", f"{path} changed while it was read") from fault
        yield folder


def _extract(path: Path, folder: Path) -> None:
    with path.open("rb") as file:
        stream = _Stream(file)
        for entry in _entries(stream):
            if entry.code:
                raise _Fault(entry.code, entry.name)
            target = folder / entry.name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with target.open("xb") as out:
                for chunk in stream.chunks(entry.size):
                    out.write(chunk)
            stream.take(padding_of(entry.size))


@contextmanager
def editable(path: Path) -> Iterator[Path]:
    """The folder of a pack to add files to; an archive is written anew when the block ends well."""
    report = PackReport()
    with unpacked(path, report) as folder:
        if folder is None:
            raise refused(path, report)
        yield folder
        if folder != path:
            with atomic_file(path) as file:
                write_archive(folder, file)


def refused(path: Path, report: PackReport) -> FleetError:
    """What is raised where a command other than `verify` meets a bad archive."""
    codes = ", ".join(sorted({finding.code for finding in report.findings}))
    return FleetError(
        "evidence_invalid",
        f"{path} does not verify: {codes}",
        hint="see `fleetmdm evidence verify`",
    )


def _unreadable(path: Path, error: OSError) -> FleetError:
    return FleetError("evidence_unreadable", f"cannot read {path}: {error.strerror}")
