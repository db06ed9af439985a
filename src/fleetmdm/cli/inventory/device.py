"""`fleetmdm device`: the devices of the fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.inventory.reading import limits_in_force
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.device import Device, encode_device, parse_tags
from fleetmdm.errors import FleetError
from fleetmdm.ingest.sources import Source
from fleetmdm.rfc3339 import encode_second, encode_time
from fleetmdm.store.port import FleetStore


@click.group()
def command() -> None:
    """List, show, tag and retire devices."""


@command.command("list")
@click.option("--os", "os_name", help="Only devices of this operating system.")
@click.option("--tag", help="Only devices with this tag.")
@list_options
@fleet_options()
def list_devices(
    call: FleetCall, *, os_name: str | None, tag: str | None, listing: Listing
) -> None:
    """List the devices by id."""
    with call.open_store() as store:
        total = store.device_count()
        devices = listing.choose(call, select_devices(store, os_name, tag), _summary)
    headers = ("device", "hostname", "os", "version", "last seen", "tags")
    call.emit(
        {"total": total, "devices": [_summary(device) for device in devices]},
        lambda: [
            render_table(headers, [_cells(device) for device in devices], width=call.width),
            f"{len(devices)} of {total} devices\n",
        ],
    )


@command.command("show")
@click.argument("device_id")
@click.option(
    "--source",
    type=click.Choice([source.value for source in Source]),
    help="What this source alone says of it [the union of all].",
)
@fleet_options()
def show_device(call: FleetCall, device_id: str, source: str | None) -> None:
    """Show one device with its facts."""
    with call.open_store() as store:
        if source is None:
            device = next(store.devices(device_id=device_id), None)
        else:
            device = store.snapshot(device_id, Source(source))
    if device is None:
        hint = "see `fleetmdm device list`"
        said = f"{source} says nothing of" if source else "no device has the id"
        raise FleetError(
            "device_not_found",
            f"{said} '{device_id}'",
            hint=hint,
            details={"device_id": device_id},
        )
    document = json.loads(encode_device(device))
    rows = list(flatten(document))
    call.emit(document, lambda: [render_table(("fact", "value"), rows, width=call.width)])


@command.command("retire")
@click.argument("device_id")
@fleet_options()
def retire_device(call: FleetCall, device_id: str) -> None:
    """Let a device leave the fleet; past runs keep what they judged."""
    with call.open_store() as store:
        store.retire_device(device_id, now=call.now())
    call.emit({"device_id": device_id, "retired": True}, lambda: [f"{device_id} is retired\n"])


@command.group("tag")
def tag() -> None:
    """Add and remove the tags that people give; those of documents stay as they are."""


@tag.command("add")
@click.argument("device_id")
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@fleet_options()
def add_tags(call: FleetCall, device_id: str, tags: Sequence[str]) -> None:
    """Give tags to a device; what it has already is left alone."""
    _change_tags(call, device_id, add=_tags(call, tags), remove=())


@tag.command("remove")
@click.argument("device_id")
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@fleet_options()
def remove_tags(call: FleetCall, device_id: str, tags: Sequence[str]) -> None:
    """Take back tags that `tag add` gave; what it does not have is left alone."""
    _change_tags(call, device_id, add=(), remove=_tags(call, tags))


def _tags(call: FleetCall, tags: Sequence[str]) -> tuple[str, ...]:
    try:
        return parse_tags(list(tags), limits_in_force(call))
    except FleetError as error:
        raise FleetError("usage", error.message, hint="a tag is a short printable text") from None


def _change_tags(
    call: FleetCall, device_id: str, *, add: Sequence[str], remove: Sequence[str]
) -> None:
    with call.open_store() as store:
        device = store.tag_device(device_id, add=add, remove=remove, now=call.now())
    call.emit(
        {"device_id": device_id, "tags": list(device.tags)},
        lambda: [f"{device_id}: {', '.join(device.tags) or 'no tags'}\n"],
    )


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, JSON text) of every value that is not an object, in the order of the paths."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from flatten(value[key], f"{path}.{key}" if path else key)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def select_devices(store: FleetStore, os_name: str | None, tag: str | None) -> Iterator[Device]:
    """Current devices of an operating system, with a tag."""
    for device in store.devices():
        if os_name is not None and device.os.lower() != os_name.lower():
            continue
        if tag is None or tag.strip().lower() in device.tags:
            yield device


def _cells(device: Device) -> tuple[str, ...]:
    return (
        device.device_id,
        device.hostname,
        device.os,
        device.os_version,
        encode_second(device.last_seen),
        ", ".join(device.tags),
    )


def _summary(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "hostname": device.hostname,
        "os": device.os,
        "os_version": device.os_version,
        "serial": device.serial,
        "last_seen": encode_time(device.last_seen),
        "tags": list(device.tags),
    }
