"""From cut-out documents to devices, with every refusal kept as a value that says where and why.

Pure: the caller opens files and knows the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from fleetmdm.device import DEFAULT_LIMITS, Device, DeviceLimits, decode_sound, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.split import (
    Lines,
    Piece,
    find_whole_fault,
    split_documents,
    split_stretches,
)
from fleetmdm.ingest.stream import Fault

_decoder = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Refused:
    """One document that does not go in. `reason` is a stable lower_snake word."""

    file: str
    line: int
    reason: str
    message: str
    hint: str = ""
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Documents of one file that follow each other, not decoded yet; blank lines are among them."""

    file: str
    lines: Sequence[int]
    """Where each begins."""
    data: Sequence[bytes]

    def part(self, begin: int, end: int | None = None) -> Stretch:
        """Some of them."""
        return Stretch(self.file, self.lines[begin:end], self.data[begin:end])


Chunks = Callable[[], Iterable[bytes]]
"""Opens a stream from its beginning; called twice."""


@dataclass(frozen=True, slots=True)
class InventoryFile:
    """A stream of documents, the name by which it is spoken of, and when it was last written."""

    name: str
    chunks: Chunks
    modified: datetime | None = None
    """None for a stream that has no such moment; then it is as old as the ingest."""


def _nothing_kept(_device_id: str) -> Device | None:
    return None


@dataclass(frozen=True, slots=True)
class Reading:
    """What every reader is given beside the files."""

    now: datetime
    limits: DeviceLimits = DEFAULT_LIMITS
    columns: Sequence[str] = ()
    """The values of --map, in the words of the user."""
    kept: Callable[[str], Device | None] = _nothing_kept
    """What this source said of a device before, for sources that tell only what changed."""

    def moment_of(self, file: InventoryFile) -> datetime:
        """When documents of the file were written, where they do not say it."""
        return file.modified or self.now


Records = Callable[[Any], Iterable[Any]]
"""The device documents that one decoded JSON value holds; raises `inventory_invalid`."""


def as_it_is(document: Any) -> Iterable[Any]:
    """`Records` of files that hold device documents."""
    return (document,)


def read_documents(
    file: InventoryFile, reading: Reading, records: Records, *, wrapper: str = ""
) -> Iterator[Device | Refused]:
    """Devices and refusals of one JSON file, each value of it turned to documents by `records`."""
    for item in read_pieces(file, reading.limits, wrapper=wrapper):
        if isinstance(item, Refused):
            yield item
        else:
            yield from read_piece(item, file.name, reading, records)


def read_devices(
    chunks: Chunks, *, name: str, now: datetime, limits: DeviceLimits = DEFAULT_LIMITS
) -> Iterator[Device | Refused]:
    """Devices and refusals of a file of our own device documents, in the order of the stream."""
    file = InventoryFile(name, chunks)
    return read_documents(file, Reading(now, limits), as_it_is)


def read_pieces(
    file: InventoryFile, limits: DeviceLimits, *, wrapper: str = ""
) -> Iterator[Piece | Refused]:
    """What is cut out of a file, in order.

    The stream is walked once before anything is answered: one that ends in the middle of a
    document, or cannot be read to its end, gives that single refusal and no document.
    """
    whole = _refuse_whole(file, limits, wrapper)
    if whole is not None:
        yield whole
        return
    size = limits.max_document_bytes
    for item in split_documents(file.chunks(), max_document_bytes=size, wrapper=wrapper):
        yield _refuse_place(item, file.name) if isinstance(item, Fault) else item


def read_stretches(file: InventoryFile, limits: DeviceLimits) -> Iterator[Stretch | Refused]:
    """`read_pieces` of a file of our own documents, by the hundred where they stand in lines."""
    whole = refuse_foreign(file) or _refuse_whole(file, limits, "")
    if whole is not None:
        yield whole
        return
    size = limits.max_document_bytes
    for item in split_stretches(file.chunks(), max_document_bytes=size):
        if isinstance(item, Lines):
            lines = range(item.line, item.line + len(item.data))
            yield Stretch(file.name, lines, item.data)
        elif isinstance(item, Piece):
            yield Stretch(file.name, (item.line,), (item.data,))
        else:
            yield _refuse_place(item, file.name)


def _refuse_whole(file: InventoryFile, limits: DeviceLimits, wrapper: str) -> Refused | None:
    size = limits.max_document_bytes
    try:
        fault = find_whole_fault(file.chunks(), max_document_bytes=size, wrapper=wrapper)
    except FleetError as error:
        return Refused(file.name, 1, "unreadable", error.message, error.hint)
    return None if fault is None else _refuse_place(fault, file.name)


def begins_as_json(file: InventoryFile) -> bool:
    """Whether the first sign of a file can begin JSON documents; true where it cannot be read."""
    try:
        for chunk in file.chunks():
            text = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
            if text:
                return text[:1] in b"{["
    except FleetError:
        pass  # Whoever reads it next says what is wrong.
    return True


_FOREIGN_BYTES = 4096
"""So much of a file is looked at."""


def refuse_foreign(file: InventoryFile) -> Refused | None:
    """The one refusal of a file that neither begins as JSON nor has a line that does nearby."""
    if begins_as_json(file):
        return None
    begun = b""
    for chunk in file.chunks():
        begun += chunk
        if len(begun) >= _FOREIGN_BYTES:
            break
    if any(line.lstrip()[:1] == b"{" for line in begun.split(b"\n")):
        return None
    hint = "name what it is with --from: fleet, ansible, osquery, or csv for any table"
    return Refused(file.name, 1, "malformed", "it holds no JSON object or array", hint)


def decode_document(data: bytes) -> Any:
    """JSON bytes as values. Raises `inventory_invalid`."""
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise _not_json("not_utf8", f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _not_json("too_deep", "nested too deeply") from None
    except ValueError as error:
        raise _not_json("malformed", str(error)) from None


def _not_json(reason: str, message: str) -> FleetError:
    return invalid(reason, message, hint="each document is one JSON object in UTF-8")


def invalid(reason: str, message: str, *, hint: str = "", device_id: str = "") -> FleetError:
    """A document that does not go in."""
    details = {"path": "", "reason": reason}
    if device_id:
        details["device_id"] = device_id
    return FleetError("inventory_invalid", message, hint=hint, details=details)


def refuse(error: FleetError, name: str, line: int) -> Refused:
    """An `inventory_invalid` error with its place."""
    return Refused(
        file=name,
        line=line,
        reason=error.details["reason"],
        message=error.message,
        hint=error.hint,
        device_id=error.details.get("device_id"),
    )


def read_piece(
    piece: Piece, name: str, reading: Reading, records: Records = as_it_is
) -> Iterator[Device | Refused]:
    """The devices and refusals of what was cut out of a file."""
    try:
        if records is as_it_is:
            document = decode_sound(piece.data, reading.limits)
            if document is not None:
                yield parse_device(document, now=reading.now, limits=reading.limits, sound=True)
                return
        for document in records(decode_document(piece.data)):
            yield parse_device(document, now=reading.now, limits=reading.limits)
    except FleetError as error:
        yield refuse(error, name, piece.line)


def _refuse_place(fault: Fault, name: str) -> Refused:
    hint = "nothing of this file went in: write it again, whole" if fault.whole else ""
    return Refused(name, fault.line, fault.reason, fault.message, hint)
