"""`fleetmdm ingest`: device documents from files, folders and stdin into the store."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import click

from clikit.progress import Progress
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.files import InventoryFile, open_inventory
from fleetmdm.ingest.read import Refused, read_devices
from fleetmdm.store.port import IngestCounts

MAX_LISTED = 100
"""Refusals that are shown one by one; the rest is counted."""

FORMS = ("document", "osquery", "ansible", "fleet", "csv")


@dataclass(slots=True)
class Refusals:
    """What was refused: all counted, the first ones kept."""

    count: int = 0
    listed: list[Refused] = field(default_factory=list)

    def add(self, refused: Refused) -> None:
        """Take one more."""
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(refused)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@click.option(
    "--from",
    "form",
    type=click.Choice(FORMS),
    default="document",
    show_default=True,
    help="What the files hold.",
)
@click.option("--strict", is_flag=True, help="Take all documents or none.")
@fleet_options()
def command(call: FleetCall, paths: Sequence[str], form: str, *, strict: bool) -> None:
    """Take in device documents: JSON objects, arrays or NDJSON; gzip and zstd are recognised.

    A document that is refused is reported with its file and line, and the others go in.
    """
    if form != "document":
        hint = "convert to device documents; see docs/inventory.md"
        raise FleetError("usage", f"--from {form} is not available yet", hint=hint)
    refusals = Refusals()
    with (
        call.open_store() as store,
        open_inventory(paths, sys.stdin.buffer) as files,
        call.progress("documents read") as progress,
    ):
        devices = _accepted(call, files, refusals, progress, strict=strict)
        counts = store.put_devices(devices, now=call.now())
    _emit(call, counts, refusals, len(files))


def _accepted(
    call: FleetCall,
    files: Iterable[InventoryFile],
    refusals: Refusals,
    progress: Progress,
    *,
    strict: bool,
) -> Iterator[Device]:
    """The devices to keep; under --strict, one refusal ends it once every file was read."""
    now = call.now()
    for file in files:
        for item in read_devices(file.chunks, name=file.name, now=now):
            progress.advance()
            if isinstance(item, Device):
                yield item
            else:
                refusals.add(item)
    if refusals.count and strict:
        raise _nothing_in(refusals)


def _emit(call: FleetCall, counts: IngestCounts, refusals: Refusals, files: int) -> None:
    if refusals.count and not counts.received:
        raise _nothing_in(refusals)
    found = None
    if refusals.count:
        message = f"documents refused: {refusals.count}; taken in: {counts.received}"
        found = FleetError(
            "ingest_errors",
            "\n".join([message, *_lines(refusals)]),
            hint="repair them and ingest again: what is in already is left alone",
            details=_details(refusals),
        )
    data = {"files": files, **asdict(counts), "refused": refusals.count}
    call.emit(data, lambda: [_summary(counts)], found=found)


def _nothing_in(refusals: Refusals) -> FleetError:
    message = f"documents refused: {refusals.count}; nothing went in"
    return FleetError(
        "inventory_invalid",
        "\n".join([message, *_lines(refusals)]),
        hint=refusals.listed[0].hint or "repair them and ingest again",
        details=_details(refusals),
    )


def _lines(refusals: Refusals) -> Iterator[str]:
    for one in refusals.listed:
        whose = f" (device {one.device_id})" if one.device_id else ""
        hint = f"; {one.hint}" if one.hint else ""
        yield f"  {one.file}:{one.line}: {one.reason}: {one.message}{whose}{hint}"
    if refusals.count > len(refusals.listed):
        yield f"  and {refusals.count - len(refusals.listed)} more"


def _details(refusals: Refusals) -> dict[str, Any]:
    listed = [asdict(one) for one in refusals.listed]
    return {"refused": refusals.count, "documents": listed}


def _summary(counts: IngestCounts) -> str:
    words = ", ".join(
        f"{count} {name}" for name, count in list(asdict(counts).items())[1:] if count
    )
    noun = "document" if counts.received == 1 else "documents"
    return f"{counts.received} {noun}: {words or 'nothing to do'}\n"
