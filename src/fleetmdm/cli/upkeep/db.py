"""`fleetmdm db`: copies of the database, made while others write, and put back once checked."""

from __future__ import annotations

from pathlib import Path

import click

from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.cli.upkeep.migrate import migrate, stats
from fleetmdm.errors import FleetError


@click.group()
def command() -> None:
    """Back up, restore, migrate and measure the database."""


command.add_command(migrate)
command.add_command(stats)


@command.command("backup")
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE")
@fleet_options()
def back_up(call: FleetCall, target: Path) -> None:
    """Write a consistent copy to FILE, which must not exist; it holds the fleet's secret."""
    with call.open_store() as store:
        store.back_up(target)
    size = target.stat().st_size
    call.emit({"backup": str(target), "bytes": size}, lambda: [f"{target}: {size} bytes\n"])


@command.command("restore")
@click.argument("source", type=click.Path(path_type=Path), metavar="FILE")
@fleet_options()
def restore(call: FleetCall, source: Path) -> None:
    """Check the backup FILE and make it the database; there must be none yet."""
    from contextlib import closing

    from fleetmdm.store.sqlite import open_store

    path = call.store_path()
    if path.exists():
        hint = "move it away first, or name another with --db"
        raise FleetError("output_exists", f"{path} exists", hint=hint)
    with closing(open_store(source, now=call.now())) as backup:
        problems = list(backup.find_problems())
        if problems:
            raise FleetError(
                "database_invalid",
                "\n".join([f"{source} is not sound", *(f"  {text}" for text in problems)]),
                hint="restore another backup",
            )
        backup.back_up(path)
        devices, runs = backup.device_count(), sum(1 for _ in backup.runs())
    call.emit(
        {"db": str(path), "devices": devices, "runs": runs},
        lambda: [f"{path}: {devices} devices, {runs} runs\n"],
    )
