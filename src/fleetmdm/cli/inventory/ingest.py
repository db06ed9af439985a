"""`fleetmdm ingest`: device documents from files, folders and stdin into the store."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import click

from fleetmdm.cli.inventory.reading import (
    MAX_LISTED,
    Accepting,
    Refusals,
    limits_in_force,
    read_form,
    reading_options,
)
from fleetmdm.cli.inventory.watch import watch_folder
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.device import Device, facts_hash
from fleetmdm.engines.intake import read_blocks
from fleetmdm.errors import FleetError
from fleetmdm.ingest.files import open_inventory
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import InventoryFile, Reading
from fleetmdm.ingest.sources import Source
from fleetmdm.store.incoming import BlockSource, device_blocks
from fleetmdm.store.port import FleetStore, IngestCounts, SerialConflict, SnapshotOvertaken


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@reading_options
@click.option("--strict", is_flag=True, help="Take all documents or none.")
@click.option("--watch", is_flag=True, help="Keep taking in what appears in DIR, until stopped.")
@fleet_options()
def command(
    call: FleetCall,
    paths: Sequence[str],
    form: str,
    columns: Sequence[str],
    *,
    strict: bool,
    watch: bool,
) -> None:
    """Take in inventory: our device documents, or what --from names; gzip and zstd are recognised.

    A document that is refused is reported with its file and line, and the others go in.
    """
    with call.open_store() as store:
        reading = Reading(now=call.now(), limits=limits_in_force(call), columns=columns)
        if watch:
            _watch(call, store, paths, form, reading, strict=strict)
            return
        counts, refusals, files = take_in(call, store, paths, form, reading, strict=strict)
        conflicts = list(islice(store.serial_conflicts(), MAX_LISTED))
    _emit(call, counts, refusals, conflicts, files)


def _watch(
    call: FleetCall,
    store: FleetStore,
    paths: Sequence[str],
    form: str,
    reading: Reading,
    *,
    strict: bool,
) -> None:
    if len(paths) != 1 or not Path(paths[0]).is_dir():
        raise FleetError("usage", "--watch takes one folder", hint="fleetmdm ingest --watch DIR")
    totals: Counter[str] = Counter()

    def take(ready: list[Path]) -> None:
        named, moment = list(map(str, ready)), replace(reading, now=call.now())
        counts, refusals, files = take_in(call, store, named, form, moment, strict=strict)
        totals.update({"files": files, **asdict(counts), "refused": refusals.count})
        for line in (f"{', '.join(named)}: {render_counts(counts)}".rstrip(), *refusals.lines()):
            call.note(line)

    call.note(f"watching {paths[0]}; Ctrl-C stops")
    watch_folder(
        call,
        Path(paths[0]),
        FORMS[Source(form)].suffixes,
        take,
        # What osquery logs of one host may stand in several files.
        together=form == Source.OSQUERY,
    )
    names = ("files", *asdict(IngestCounts()), "refused")
    data = {name: totals[name] for name in names}
    call.emit(data, lambda: [f"{data['received']} documents of {data['files']} files\n"])


def take_in(
    call: FleetCall,
    store: FleetStore,
    paths: Sequence[str],
    form: str,
    reading: Reading,
    *,
    strict: bool,
) -> tuple[IngestCounts, Refusals, int]:
    """Read files and keep their documents: what became of them, and how many files there were."""
    suffixes = FORMS[Source(form)].suffixes
    with (
        open_inventory(paths, sys.stdin.buffer, suffixes=suffixes) as files,
        call.progress("documents read") as progress,
    ):
        for _ in range(MAX_TRIES):
            refusals, bases = Refusals(), Bases(store, Source(form))
            based = replace(reading, kept=bases.kept)
            blocks = _read(call, form, files, based, Accepting(refusals, progress, strict=strict))
            with suppress(SnapshotOvertaken):
                counts = store.put_blocks(
                    blocks, source=Source(form), now=reading.now, based_on=bases.digests
                )
                return counts, refusals, len(files)
    raise FleetError(
        "database_locked",
        f"other ingests changed the same devices {MAX_TRIES} times while this one read",
        hint="let one finish before the next begins",
    )


def _read(
    call: FleetCall,
    form: str,
    files: Sequence[InventoryFile],
    reading: Reading,
    accepting: Accepting,
) -> BlockSource:
    """The documents of some files, by the block."""
    if Source(form) is not Source.DOCUMENT:
        return device_blocks(accepting.devices(read_form(form, files, reading)))
    workers: int = call.setting("ingest.workers")
    return lambda wanted: accepting.blocks(read_blocks(files, reading, wanted, workers=workers))


MAX_TRIES = 10
"""How often files are read anew because another ingest changed what they build on."""


class Bases:
    """Remembers which kept snapshots the documents of an ingest build on."""

    def __init__(self, store: FleetStore, source: Source) -> None:
        self._store = store
        self._source = source
        self.digests: dict[str, str | None] = {}

    def kept(self, device_id: str) -> Device | None:
        """The snapshot of a device, if there is one."""
        device = self._store.snapshot(device_id, self._source)
        self.digests[device_id] = None if device is None else facts_hash(device)
        return device


def _emit(
    call: FleetCall,
    counts: IngestCounts,
    refusals: Refusals,
    conflicts: Sequence[SerialConflict],
    files: int,
) -> None:
    if refusals.count and not counts.received:
        raise refusals.nothing_in()
    found = refusals.found(
        f"documents refused: {refusals.count}; taken in: {counts.received}",
        "repair them and ingest again: what is in already is left alone",
    )
    data = {
        "files": files,
        **asdict(counts),
        "refused": refusals.count,
        "conflicts": [asdict(one) for one in conflicts],
    }
    call.emit(data, lambda: [render_counts(counts), *render_conflicts(conflicts)], found=found)


def render_counts(counts: IngestCounts) -> str:
    """One line on what became of the documents."""
    words = ", ".join(
        f"{count} {name}" for name, count in list(asdict(counts).items())[1:] if count
    )
    noun = "document" if counts.received == 1 else "documents"
    return f"{counts.received} {noun}: {words or 'nothing to do'}\n"


def render_conflicts(conflicts: Sequence[SerialConflict]) -> Iterator[str]:
    """A line for each serial number that several devices claim."""
    for one in conflicts:
        more = f" and {one.count - len(one.device_ids)} more" * (one.count > len(one.device_ids))
        yield f"conflict: serial {one.serial} is claimed by {', '.join(one.device_ids)}{more}\n"
