"""`fleetmdm doctor`: is the database sound, and can it be smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import click

from fleetmdm.cli.inventory.ingest import render_conflicts
from fleetmdm.cli.inventory.reading import MAX_LISTED
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.store.port import SerialConflict


@click.command()
@click.option("--integrity-check", is_flag=True, help="Read every page and every reference.")
@click.option("--vacuum", is_flag=True, help="Give unused space back.")
@fleet_options()
def command(call: FleetCall, *, integrity_check: bool, vacuum: bool) -> None:
    """Check the database; exits with 1 if something is wrong."""
    data: dict[str, Any] = {"db": str(call.store_path()), "problems": None}
    with call.open_store() as store:
        data["devices"] = store.device_count()
        data["runs"] = sum(1 for _ in store.runs())
        conflicts = list(islice(store.serial_conflicts(), MAX_LISTED))
        data["conflicts"] = [asdict(one) for one in conflicts]
        if integrity_check:
            data["problems"] = list(store.find_problems())
        if vacuum and not data["problems"]:
            before, after = store.compact()
            data["vacuum"] = {"before_bytes": before, "after_bytes": after}
    found = _found(data["problems"]) or _conflicting(conflicts)
    call.emit(data, lambda: [*_text(data), *render_conflicts(conflicts)], found=found)


def _found(problems: list[str] | None) -> FleetError | None:
    if not problems:
        return None
    return FleetError(
        "database_unsound",
        "\n".join([f"problems found: {len(problems)}", *(f"  {text}" for text in problems)]),
        hint="repair what is named, or restore a backup",
        details={"problems": problems},
    )


def _conflicting(conflicts: Sequence[SerialConflict]) -> FleetError | None:
    if not conflicts:
        return None
    return FleetError(
        "identity_conflicts",
        f"serial numbers that several devices claim: {len(conflicts)}",
        hint="retire the device that is gone, or correct the serial at its source",
        details={"conflicts": [asdict(one) for one in conflicts]},
    )


def _text(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['db']}: {data['devices']} devices, {data['runs']} runs\n"
    if data["problems"] is not None:
        yield f"integrity: {'ok' if not data['problems'] else 'not sound'}\n"
    if "vacuum" in data:
        sizes = data["vacuum"]
        yield f"vacuum: {sizes['before_bytes']} -> {sizes['after_bytes']} bytes\n"
