"""`fleetmdm check`: judge the fleet and record a run, or judge one device and record nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.engines.local import Judgement, Recorded, judge_device, record_run
from fleetmdm.errors import FleetError
from fleetmdm.report.model import (
    PROBLEM_STATES,
    PolicyLine,
    Report,
    SortBy,
    add_counts,
    sort_lines,
)
from fleetmdm.report.to_json import encode_counts, encode_finding, encode_line, encode_run
from fleetmdm.report.to_table import describe, render
from fleetmdm.results import Status, Verdict
from fleetmdm.rfc3339 import encode_time, parse_time
from fleetmdm.store.port import NewRun


@click.command()
@click.option("--device", "device_id", metavar="ID", help="Judge one device; no run is recorded.")
@click.option("--as-of", metavar="TIME", help="The moment to judge by (RFC 3339) [now].")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="STATE",
    help="Exit with 1 where a device has this state: fail, error or unknown; may be repeated.",
)
@fleet_options()
def command(
    call: FleetCall, device_id: str | None, as_of: str | None, fail_on: Sequence[str]
) -> None:
    """Judge every device under every policy, and record the run."""
    started_at = call.now()
    moment = started_at if as_of is None else _moment(as_of)
    states = fail_states(call, fail_on)
    if device_id is not None:
        with call.open_store() as store:
            judgement = judge_device(store, device_id, as_of=moment)
        _emit_device(call, device_id, judgement, moment, states)
        return
    new = NewRun(started_at=started_at, as_of=moment, tool_version=version("secretivex-fleetmdm"))
    with (
        call.open_store() as store,
        call.progress("devices judged", store.device_count()) as progress,
    ):
        recorded = record_run(store, new, clock=call.now, advance=progress.advance)
    _emit_run(call, recorded, states)


def _moment(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise FleetError("usage", f"--as-of: {error}") from error


def fail_states(call: FleetCall, given: Sequence[str]) -> tuple[Status, ...]:
    """The states that make a command exit with 1; raises `usage`."""
    words = given or call.setting("check.fail_on")
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    known = {state.value: state for state in PROBLEM_STATES}
    for name in names:
        if name not in known:
            raise FleetError("usage", f"--fail-on is one of {', '.join(known)}, not {name!r}")
    return tuple(known[name] for name in dict.fromkeys(names))


def policy_failures(counts: dict[Status, int], states: Sequence[Status]) -> FleetError | None:
    """The failure to exit with, where a named state occurs."""
    hit = {state.value: counts[state] for state in states if counts.get(state)}
    if not hit:
        return None
    said = ", ".join(f"{count} {state}" for state, count in hit.items())
    return FleetError(
        "policy_failures", f"found: {said}", hint="fleetmdm report shows them", details=hit
    )


def _emit_run(call: FleetCall, recorded: Recorded, states: Sequence[Status]) -> None:
    run = recorded.run
    lines = sort_lines(
        (PolicyLine(policy, run.policy_counts.get(policy.id, {})) for policy in recorded.policies),
        SortBy.SEVERITY,
    )
    report = Report(run, lines, rows=())
    data = {
        "run": encode_run(run),
        "severities": {
            severity.value: encode_counts(counts)
            for severity, counts in report.by_severity().items()
        },
        "policies": [encode_line(line) for line in lines],
    }
    found = policy_failures(dict(run.counts), states)
    call.emit(data, partial(render, report, width=call.width), found=found)


# One device.


def _emit_device(
    call: FleetCall,
    device_id: str,
    judgement: Judgement,
    as_of: datetime,
    states: Sequence[Status],
) -> None:
    verdicts = list(judgement.verdicts)
    counts = add_counts({verdict.status: 1} for verdict in verdicts)
    data = {
        "device_id": device_id,
        "as_of": encode_time(as_of),
        "recorded": False,
        "counts": encode_counts(counts),
        "results": [_encode_verdict(verdict) for verdict in verdicts],
    }
    call.emit(
        data,
        lambda: _device_text(verdicts, call.width),
        found=policy_failures(counts, states),
    )


def _encode_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "policy_id": verdict.policy_id,
        "status": verdict.status.value,
        "valid_until": None if verdict.valid_until is None else encode_time(verdict.valid_until),
        "findings": [encode_finding(finding) for finding in verdict.findings],
    }


def _device_text(verdicts: Sequence[Verdict], width: int | None) -> Iterator[str]:
    rows = [
        (verdict.policy_id, verdict.status.value, "" if finding is None else describe(finding))
        for verdict in verdicts
        for finding in (verdict.findings or (None,))
    ]
    yield render_table(("policy", "state", "what"), rows, width=width)
