"""`fleetmdm doctor`: is the database sound, and can it be smaller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError


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
        if integrity_check:
            data["problems"] = list(store.find_problems())
        if vacuum and not data["problems"]:
            before, after = store.compact()
            data["vacuum"] = {"before_bytes": before, "after_bytes": after}
    call.emit(data, lambda: _text(data), found=_found(data["problems"]))


def _found(problems: list[str] | None) -> FleetError | None:
    if not problems:
        return None
    return FleetError(
        "database_unsound",
        "\n".join([f"problems found: {len(problems)}", *(f"  {text}" for text in problems)]),
        hint="repair what is named, or restore a backup",
        details={"problems": problems},
    )


def _text(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['db']}: {data['devices']} devices, {data['runs']} runs\n"
    if data["problems"] is not None:
        yield f"integrity: {'ok' if not data['problems'] else 'not sound'}\n"
    if "vacuum" in data:
        sizes = data["vacuum"]
        yield f"vacuum: {sizes['before_bytes']} -> {sizes['after_bytes']} bytes\n"
