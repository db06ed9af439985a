"""`fleetmdm runs`: the recorded runs, newest first; with --plot their trend as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clikit.command.plotting import check_plot, plot_option, write_plot
from clikit.table import render_table
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.results import Run, Status
from fleetmdm.rfc3339 import encode_second, encode_time

_COUNTED = (Status.PASS, Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.NOT_APPLICABLE)


@click.command()
@plot_option("the trend over the runs that are listed")
@list_options
@fleet_options()
def command(call: FleetCall, *, plot: Path | None, listing: Listing) -> None:
    """List the recorded runs, newest first, and draw their trend."""
    if plot is not None:
        check_plot(plot, output=call.output)
    with call.open_store() as store:
        runs = listing.choose(call, store.runs(), _document)
    if plot is not None:
        _draw(call, runs, plot)
    headers = ("run", "as of", "devices", "policies", *_COUNTED[:-1], "n/a")
    call.emit(
        [_document(run) for run in runs],
        lambda: [
            render_table(headers, [_cells(run) for run in runs], width=call.width)
            if runs
            else "no run yet: record one with `fleetmdm check`\n"
        ],
    )


def _draw(call: FleetCall, runs: Sequence[Run], path: Path) -> None:
    from fleetmdm.report.plot import trend

    if not runs:
        hint = "fleetmdm check makes one"
        raise FleetError("run_not_found", "there is no run to draw", hint=hint)
    ordered = sorted(runs, key=lambda run: (run.as_of, run.run_id))
    write_plot(call, path, trend.render(ordered, suffix=path.suffix))


def _cells(run: Run) -> tuple[object, ...]:
    counts = [run.counts.get(status, 0) for status in _COUNTED]
    return (run.run_id, encode_second(run.as_of), run.devices, run.policies, *counts)


def _document(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "started_at": encode_time(run.started_at),
        "finished_at": encode_time(run.finished_at),
        "as_of": encode_time(run.as_of),
        "devices": run.devices,
        "policies": run.policies,
        "counts": {status.value: count for status, count in sorted(run.counts.items())},
        "tool_version": run.tool_version,
        "policy_set_hash": run.policy_set_hash,
        "inventory_root": run.inventory_root,
        "result_root": run.result_root,
    }
