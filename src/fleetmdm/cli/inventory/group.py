"""`fleetmdm inventory`: check documents without keeping them, and get out what is kept."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import click

from clikit.envelope import render_json
from fleetmdm.cli.inventory.device import list_devices, select_devices, show_device
from fleetmdm.cli.inventory.reading import (
    Accepting,
    Refusals,
    limits_in_force,
    read_form,
    reading_options,
)
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.device import encode_device
from fleetmdm.device.schema import inventory_schema
from fleetmdm.errors import FleetError
from fleetmdm.ingest.files import open_inventory
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import Reading
from fleetmdm.ingest.sources import Source


@click.group()
def command() -> None:
    """Validate inventory files; list, show and export what is kept."""


command.add_command(list_devices, "list")
command.add_command(show_device, "show")


@command.command("validate")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@reading_options
@fleet_options()
def validate(call: FleetCall, paths: Sequence[str], form: str, columns: Sequence[str]) -> None:
    """Read inventory as `ingest` would, and keep nothing; exits with 1 if anything is refused."""
    reading = Reading(call.now(), limits_in_force(call), columns)
    refusals = Refusals()
    suffixes = FORMS[Source(form)].suffixes
    with (
        open_inventory(paths, sys.stdin.buffer, suffixes=suffixes) as files,
        call.progress("documents read") as progress,
    ):
        items = read_form(form, files, reading)
        systems = Counter(one.os for one in Accepting(refusals, progress).devices(items))
        count = len(files)
    valid = systems.total()
    data = {"files": count, "valid": valid, "refused": refusals.count, "by_os": dict(systems)}
    found = None
    if refusals.count:
        message = f"documents refused: {refusals.count}; valid: {valid}"
        found = FleetError(
            "inventory_findings",
            "\n".join([message, *refusals.lines()]),
            hint="repair them; `ingest` would take the valid ones",
            details=refusals.details(),
        )
    call.emit(data, lambda: [f"{valid} valid documents in {count} files\n"], found=found)


@command.command("export")
@click.option("--os", "os_name", help="Only devices of this operating system.")
@click.option("--tag", help="Only devices with this tag.")
@fleet_options(formats=("ndjson", "json"))
def export(call: FleetCall, os_name: str | None, tag: str | None) -> None:
    """Write the devices as documents that `ingest` takes, each the union of its sources."""
    with call.open_store() as store:
        lines = (encode_device(one).decode() for one in select_devices(store, os_name, tag))
        if call.format == "json":
            call.emit_chunks(_envelope(lines))
        else:
            call.emit_chunks(f"{line}\n" for line in lines)


def _envelope(lines: Iterator[str]) -> Iterator[str]:
    """The envelope of a success around documents that are never all in memory."""
    yield '{"schema": 1, "ok": true, "data": {"devices": ['
    first = next(lines, None)
    if first is not None:
        yield from chain((f"\n{first}",), (f",\n{line}" for line in lines))
    yield "\n]}}\n"


@command.command("schema")
@fleet_options(formats=("raw", "json"))
def schema(call: FleetCall) -> None:
    """Print the JSON Schema of a device document, with the limits in force."""
    print_schema(call, inventory_schema(limits_in_force(call)))


def print_schema(call: FleetCall, document: dict[str, Any]) -> None:
    """A schema by itself, or in the envelope."""
    call.emit(document, lambda: [render_json(document)])
