"""From cut-out documents to devices, with every refusal kept as a value that says where and why.

Pure: the caller opens files and knows the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from fleetmdm.device import DEFAULT_LIMITS, Device, DeviceLimits, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.split import Fault, Piece, split_documents

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


Chunks = Callable[[], Iterable[bytes]]
"""Opens a stream from its beginning; called twice."""


def read_devices(
    chunks: Chunks, *, name: str, now: datetime, limits: DeviceLimits = DEFAULT_LIMITS
) -> Iterator[Device | Refused]:
    """Devices and refusals in the order of the stream.

    The stream is walked once before anything is answered: one that ends in the middle of a
    document, or cannot be read to its end, gives that single refusal and no device.
    """
    size = limits.max_document_bytes
    try:
        for item in split_documents(chunks(), max_document_bytes=size):
            if isinstance(item, Fault) and item.whole:
                yield _refuse_place(item, name)
                return
    except FleetError as error:
        yield Refused(name, 1, "unreadable", error.message, error.hint)
        return
    for item in split_documents(chunks(), max_document_bytes=size):
        if isinstance(item, Fault):
            yield _refuse_place(item, name)
        else:
            yield _read_piece(item, name, now, limits)


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
    details = {"path": "", "reason": reason}
    hint = "each document is one JSON object in UTF-8"
    return FleetError("inventory_invalid", message, hint=hint, details=details)


def _read_piece(piece: Piece, name: str, now: datetime, limits: DeviceLimits) -> Device | Refused:
    try:
        return parse_device(decode_document(piece.data), now=now, limits=limits)
    except FleetError as error:
        return Refused(
            file=name,
            line=piece.line,
            reason=error.details["reason"],
            message=error.message,
            hint=error.hint,
            device_id=error.details.get("device_id"),
        )


def _refuse_place(fault: Fault, name: str) -> Refused:
    hint = "nothing of this file went in: write it again, whole" if fault.whole else ""
    return Refused(name, fault.line, fault.reason, fault.message, hint)
