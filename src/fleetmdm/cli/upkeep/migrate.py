"""`fleetmdm db migrate|stats`: which version the database has, and how large each part is."""

from __future__ import annotations

from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options


@click.command()
@fleet_options()
def migrate(call: FleetCall) -> None:
    """Bring the database to this version, with a backup first; every other command does so too."""
    from fleetmdm.store.migrations import load_migrations
    from fleetmdm.store.sqlite.upgrade import read_version

    path = call.store_path()
    latest = load_migrations()[-1].version
    before = read_version(path)
    known = set(path.parent.glob(f"{path.name}.v*.backup"))
    with call.open_store():
        pass
    made = sorted(str(one) for one in set(path.parent.glob(f"{path.name}.v*.backup")) - known)
    data: dict[str, Any] = {"db": str(path), "from": before, "to": latest, "backups": made}
    said = f"{path} has version {latest} already\n"
    if before != latest:
        said = f"{path}: version {before} -> {latest}; the old one is kept as {', '.join(made)}\n"
    call.emit(data, lambda: [said])


@click.command()
@fleet_options()
def stats(call: FleetCall) -> None:
    """Show the size of the database and how many rows each part has."""
    path = call.store_path()
    with call.open_store() as store:
        rows = store.row_counts()
    data = {"db": str(path), "bytes": path.stat().st_size, "rows": rows}
    call.emit(
        data,
        lambda: [
            f"{path}: {data['bytes']} bytes\n",
            render_table(("table", "rows"), list(rows.items()), width=call.width),
        ],
    )
