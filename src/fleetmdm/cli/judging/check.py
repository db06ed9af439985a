"""`fleetmdm check`: judge the fleet and record a run, or judge one device and record nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version

import click

from fleetmdm.cli.judging.drifting import count_changed
from fleetmdm.cli.judging.gate import FAIL_ON_HELP, Gate, gate_failure, parse_gate, stale_after
from fleetmdm.cli.judging.one_device import check_device
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.engines.local import Recorded, record_run
from fleetmdm.errors import FleetError
from fleetmdm.governance.effective import Differences
from fleetmdm.report.model import PolicyLine, Report, sort_lines
from fleetmdm.report.selection import SortBy
from fleetmdm.report.to_json import encode_counts, encode_line, encode_run
from fleetmdm.report.to_table import render
from fleetmdm.rfc3339 import parse_time
from fleetmdm.store.port import NewRun
from fleetmdm.store.standing import RunStanding

ONLY_ASSIGNED = click.option(
    "--only-assigned",
    is_flag=True,
    help="A policy that is not assigned applies nowhere, even if nothing is assigned at all.",
)


@click.command()
@click.option("--device", "device_id", metavar="ID", help="Judge one device; no run is recorded.")
@click.option("--full", is_flag=True, help="Judge everything, also what cannot have changed.")
@click.option("--as-of", metavar="TIME", help="The moment to judge by (RFC 3339) [now].")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="STATE",
    help=FAIL_ON_HELP,
)
@ONLY_ASSIGNED
@fleet_options()
def command(
    call: FleetCall,
    *,
    device_id: str | None,
    as_of: str | None,
    fail_on: Sequence[str],
    only_assigned: bool,
    full: bool,
) -> None:
    """Judge every device under every policy, and record the run.

    Verdicts of the newest run stay where neither facts, policies nor time can have changed them.
    """
    started_at = call.now()
    moment = started_at if as_of is None else _moment(as_of)
    gate = parse_gate(call, fail_on, drift=device_id is None)
    if device_id is not None:
        check_device(call, device_id, moment, gate, only_assigned=only_assigned)
        return
    new = NewRun(
        started_at=started_at,
        as_of=moment,
        tool_version=version("secretivex-fleetmdm"),
        only_assigned=only_assigned,
        stale_after_s=int(stale_after(call).total_seconds()),
    )
    with call.open_store() as store, call.progress("devices judged") as progress:
        recorded = record_run(
            store,
            new,
            clock=call.now,
            advance=progress.advance,
            expect=progress.expect,
            full=full,
            workers=call.setting("check.workers"),
        )
        differences = RunStanding(store, recorded.run, recorded.policies).differences()
        shown = {policy.id for policy in recorded.policies}
        changed = count_changed(store, recorded.run, shown) if gate.drift else 0
    _emit_run(call, recorded, differences, gate, changed)


def _moment(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise FleetError("usage", f"--as-of: {error}") from error


def _emit_run(
    call: FleetCall,
    recorded: Recorded,
    differences: Mapping[str, Differences],
    gate: Gate,
    changed: int,
) -> None:
    run = recorded.run
    each = (
        PolicyLine(policy, run.policy_counts.get(policy.id, {}), differences.get(policy.id, {}))
        for policy in recorded.policies
    )
    lines = sort_lines(each, SortBy.SEVERITY)
    report = Report(run, lines, rows=())
    data = {
        "run": encode_run(run),
        "severities": {
            severity.value: encode_counts(counts)
            for severity, counts in report.by_severity().items()
        },
        "policies": [encode_line(line) for line in lines],
    }
    found = gate_failure(lines, gate, changed=changed)
    call.emit(data, partial(render, report, width=call.width), found=found)
