"""`fleetmdm history`: since when, and until when, verdicts have stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.history.values import findings_document, parse_moment
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.results import SILENT, ResultRow, Run, Status
from fleetmdm.rfc3339 import encode_second, encode_time

_STATES = [status.value for status in Status if status not in SILENT]


@click.command()
@click.option("--device", "device_id", help="Only this device.")
@click.option("--policy", "policy_id", help="Only this policy.")
@click.option("--status", "states", type=click.Choice(_STATES), multiple=True, help="Only these.")
@click.option("--since", help="Only what stood at a run as of this RFC 3339 time or later.")
@click.option("--until", help="Only what stood at a run as of this RFC 3339 time or before.")
@list_options
@fleet_options()
def command(call: FleetCall, *, listing: Listing, **options: Any) -> None:
    """Show every verdict that did not pass with the runs over which it stood, newest first."""
    since = parse_moment("--since", options["since"])
    until = parse_moment("--until", options["until"])
    with call.open_store() as store:
        chosen = _within(list(store.runs()), since, until)
        moments = store.run_moments()
        rows = store.intervals(
            first_run=min(chosen, default=0),
            last_run=max(chosen, default=0),
            device_id=options["device_id"],
            policy_id=options["policy_id"],
            statuses=frozenset(map(Status, options["states"])),
        )
        shown = listing.choose(call, rows, lambda row: _document(row, moments))
    headers = ("device", "policy", "status", "since", "runs", "why")
    call.emit(
        [_document(row, moments) for row in shown],
        lambda: [
            render_table(headers, [_cells(row, moments) for row in shown], width=call.width)
            if shown
            else "no verdict that did not pass\n"
        ],
    )


def _within(runs: Sequence[Run], since: datetime | None, until: datetime | None) -> list[int]:
    return [
        run.run_id
        for run in runs
        if (since is None or run.as_of >= since) and (until is None or run.as_of <= until)
    ]


def _moment(moments: Mapping[int, datetime], run_id: int | None) -> str | None:
    return None if run_id is None else encode_time(moments[run_id])


def _document(row: ResultRow, moments: Mapping[int, datetime]) -> dict[str, Any]:
    return {
        "device_id": row.device_id,
        "policy_id": row.policy_id,
        "status": row.status.value,
        "since_run": row.since_run,
        "since": _moment(moments, row.since_run),
        "until_run": row.until_run,
        "until": _moment(moments, row.until_run),
        "findings": findings_document(row.findings),
    }


def _cells(row: ResultRow, moments: Mapping[int, datetime]) -> tuple[object, ...]:
    return (
        row.device_id,
        row.policy_id,
        row.status,
        encode_second(moments[row.since_run]),
        f"{row.since_run} to {'now' if row.until_run is None else row.until_run - 1}",
        "; ".join(one.message for one in row.findings),
    )
