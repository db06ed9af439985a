"""`fleetmdm evidence reveal`: whom pseudonyms stand for, told to the holder of the fleet's key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone.
    from fleetmdm.device import Device
    from fleetmdm.store.port import FleetStore

_HEADERS = ("pseudonym", "field", "stands for", "device")


@click.command()
@click.argument("pseudonyms", nargs=-1, required=True)
@click.option("--run", "run_id", type=click.IntRange(min=1), metavar="N", help="Look in this run.")
@fleet_options()
def command(call: FleetCall, pseudonyms: tuple[str, ...], run_id: int | None) -> None:
    """Say what each of PSEUDONYMS stands for, by this fleet's key.

    Looks through the devices of today, then through those of past runs, newest first.
    """
    from fleetmdm.evidence.examine.reveal import reveal
    from fleetmdm.evidence.keys import FleetKeys

    with call.open_store() as store:
        found = reveal(FleetKeys(store.fleet_key()), _devices(store, run_id), set(pseudonyms))
    unknown = sorted(set(pseudonyms) - {each.pseudonym for each in found})
    if unknown:
        raise FleetError(
            "pseudonym_unknown",
            f"nothing in this fleet gives {', '.join(unknown)}",
            hint="the pack may be of another fleet, or its runs were pruned",
            details={"unknown": unknown},
        )
    rows = [(each.pseudonym, each.path, each.value, each.device_id) for each in found]
    data = [
        dict(zip(("pseudonym", "field", "value", "device_id"), row, strict=True)) for row in rows
    ]
    call.emit(data, lambda: [render_table(_HEADERS, rows, width=call.width)])


def _devices(store: FleetStore, run_id: int | None) -> Iterator[Device]:
    if run_id is not None:
        yield from store.run_devices(store.run(run_id).run_id)
        return
    yield from store.devices()
    for run in store.runs():
        yield from store.run_devices(run.run_id)
