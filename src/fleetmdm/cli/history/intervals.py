"""`fleetmdm history`: since when, and until when, verdicts have stood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.history.values import findings_document, parse_moment
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.drift import EffectiveSpan
from fleetmdm.errors import FleetError
from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.results import SILENT, ResultRow, Run, Status
from fleetmdm.rfc3339 import encode_second, encode_time
from fleetmdm.store.port import FleetStore

_RAW = [status.value for status in Status if status not in SILENT]
_STATES = _RAW + [one.value for one in EffectiveStatus if one.value not in {*_RAW, *SILENT}]


@click.command()
@click.option("--device", "device_id", help="Only this device.")
@click.option("--policy", "policy_id", help="Only this policy.")
@click.option("--status", "states", type=click.Choice(_STATES), multiple=True, help="Only these.")
@click.option("--since", help="Only what stood at a run as of this RFC 3339 time or later.")
@click.option("--until", help="Only what stood at a run as of this RFC 3339 time or before.")
@click.option(
    "--effective",
    is_flag=True,
    help="What waivers, grace, attestations and stale inventory made of them; --status too.",
)
@list_options
@fleet_options()
def command(call: FleetCall, *, listing: Listing, **options: Any) -> None:
    """Show every verdict that did not pass with the runs over which it stood, newest first."""
    since = parse_moment("--since", options["since"])
    until = parse_moment("--until", options["until"])
    states = frozenset(options["states"])
    if not options["effective"] and (odd := sorted(states - {*_RAW})):
        raise FleetError(
            "usage", f"--status {odd[0]} is an effective state", hint="add --effective"
        )
    with call.open_store() as store:
        moments = store.run_moments()
        runs = list(store.runs())
        chosen = _within(runs, since, until)
        among = {"device_id": options["device_id"], "policy_id": options["policy_id"]}
        first, last = min(chosen, default=0), max(chosen, default=0)
        rows: Iterable[ResultRow | EffectiveSpan]
        if options["effective"]:
            rows = _effective(store, [run for run in runs if run.run_id <= last], first, among)
            rows = (one for one in rows if not states or one.status in states)
        else:
            wanted = frozenset(map(Status, states))
            rows = store.intervals(first_run=first, last_run=last, statuses=wanted, **among)
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


def _effective(
    store: FleetStore, runs: list[Run], first: int, among: Mapping[str, str | None]
) -> list[EffectiveSpan]:
    """What stood at a run from the first on; `runs` are newest first."""
    from fleetmdm.engines.effective import effective_spans

    spans = effective_spans(store, reversed(runs), **among)
    return [one for one in spans if one.until_run is None or one.until_run > first]


def _within(runs: Sequence[Run], since: datetime | None, until: datetime | None) -> list[int]:
    return [
        run.run_id
        for run in runs
        if (since is None or run.as_of >= since) and (until is None or run.as_of <= until)
    ]


def _moment(moments: Mapping[int, datetime], run_id: int | None) -> str | None:
    return None if run_id is None else encode_time(moments[run_id])


def _document(row: ResultRow | EffectiveSpan, moments: Mapping[int, datetime]) -> dict[str, Any]:
    why: dict[str, Any]
    if isinstance(row, EffectiveSpan):
        why = {"reason": row.reason}
    else:
        why = {"findings": findings_document(row.findings)}
    return {
        "device_id": row.device_id,
        "policy_id": row.policy_id,
        "status": row.status.value,
        "since_run": row.since_run,
        "since": _moment(moments, row.since_run),
        "until_run": row.until_run,
        "until": _moment(moments, row.until_run),
        **why,
    }


def _cells(row: ResultRow | EffectiveSpan, moments: Mapping[int, datetime]) -> tuple[object, ...]:
    if isinstance(row, EffectiveSpan):
        why = row.reason
    else:
        why = "; ".join(one.message for one in row.findings)
    return (
        row.device_id,
        row.policy_id,
        row.status,
        encode_second(moments[row.since_run]),
        f"{row.since_run} to {'now' if row.until_run is None else row.until_run - 1}",
        why,
    )
