"""`fleetmdm triage`: what to fix first, and what flaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

import click

from clikit.table import render_table, show_text
from fleetmdm.cli.listing import Listing, list_options, rows_to_show
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.governance.effective import PROBLEMS
from fleetmdm.results import Run
from fleetmdm.rfc3339 import encode_second, encode_time
from fleetmdm.store.port import FleetStore
from fleetmdm.store.standing import RunStanding
from fleetmdm.triage import Flap, Owners, TriageLine, count_owners, find_flaps, rank

RECENT_RUNS = 20
OWNER_TAG = "owner:"

_WIDE_COLUMNS = 140
"""From here on a terminal has room for what is to be done about each policy."""
_NARROW = 4


@click.command()
@click.option("--run", "run_id", type=click.IntRange(min=1), help="Number of the run [the latest].")
@click.option(
    "--flapping-runs",
    type=click.IntRange(min=2),
    default=RECENT_RUNS,
    show_default=True,
    metavar="N",
    help="Look for flapping verdicts in the last N runs.",
)
@click.option(
    "--explain",
    nargs=2,
    metavar="DEVICE POLICY",
    help="Why this policy says what it says of this device: every check, and who decided what.",
)
@click.option(
    "--owner-tag",
    default=OWNER_TAG,
    show_default=True,
    metavar="PREFIX",
    help="Tags that begin so name who owns a device.",
)
@list_options
@fleet_options()
def command(
    call: FleetCall,
    *,
    run_id: int | None,
    flapping_runs: int,
    explain: tuple[str, str] | None,
    owner_tag: str,
    listing: Listing,
) -> None:
    """Rank policies by severity, devices and age, and show verdicts that go to and fro.

    --sort, --filter and --offset choose policies, --limit bounds both lists.
    """
    with call.open_store() as store:
        run = _find_run(store, run_id)
        if explain:
            from fleetmdm.cli.history.explain import explain_pair

            explain_pair(call, store, run, *explain)
            return
        policies = store.policies_of_run(run.run_id)
        standing = RunStanding(store, run, policies)
        rows = standing.judge(store.results(run.run_id, statuses=PROBLEMS))
        owners: Owners = {}
        owned = count_owners(rows, _owned(store, run, owner_tag), owners)
        lines = rank(owned, policies, as_of=run.as_of)
        flaps = _flaps(store, run, flapping_runs)
    shown = listing.choose(call, lines, lambda line: _document(line, owners))
    flaps_shown = flaps[: rows_to_show(call, listing.limit)]
    data = {
        "run_id": run.run_id,
        "as_of": encode_time(run.as_of),
        "policies": [_document(line, owners) for line in shown],
        "flapping": [_flap(one) for one in flaps_shown],
        "total": len(lines),
        "total_flapping": len(flaps),
    }
    call.emit(data, lambda: _text(call, shown, flaps_shown, data))


def _find_run(store: FleetStore, run_id: int | None) -> Run:
    if run_id is not None:
        return store.run(run_id)
    newest = next(iter(store.runs(limit=1)), None)
    if newest is None:
        raise FleetError("run_not_found", "there is no run yet", hint="fleetmdm check makes one")
    return newest


def _flaps(store: FleetStore, run: Run, many: int) -> list[Flap]:
    seen = [one.run_id for one in store.runs() if one.run_id <= run.run_id][:many]
    first, last = min(seen), max(seen)
    return find_flaps(
        store.intervals(first_run=first, last_run=last), first_run=first, last_run=last
    )


def _owned(store: FleetStore, run: Run, prefix: str) -> Iterator[tuple[str, str]]:
    """(device id, who owns it) for every device that a tag gives an owner."""
    for device in store.run_devices(run.run_id):
        for tag in device.tags:
            if prefix and tag.startswith(prefix) and len(tag) > len(prefix):
                yield device.device_id, tag.removeprefix(prefix)
                break


def _document(line: TriageLine, owners: Owners) -> dict[str, Any]:
    policy = line.policy
    return {
        "policy_id": policy.id,
        "name": policy.name,
        "score": round(line.score, 1),
        "severity": line.severity.value,
        "why": line.why(),
        "devices": line.devices,
        "owners": dict(owners.get(policy.id, Counter()).most_common()),
        "excused": line.excused,
        "oldest": None if line.oldest is None else encode_time(line.oldest),
        "states": {state.value: count for state, count in sorted(line.states.items())},
        "examples": line.examples,
        "remediation": policy.remediation,
        "references": [
            {"framework": each.framework, "control": each.control, "url": each.url}
            for each in policy.references
        ],
    }


def _flap(one: Flap) -> dict[str, Any]:
    return {
        "device_id": one.device_id,
        "policy_id": one.policy_id,
        "changes": one.changes,
        "status": one.status,
    }


def _text(
    call: FleetCall, lines: Sequence[TriageLine], flaps: Sequence[Flap], data: dict[str, Any]
) -> Iterator[str]:
    if not lines:
        what = "no policy is as asked for" if data["total"] else "nothing to fix"
        yield f"run {data['run_id']}: {what}\n"
    else:
        told = zip(lines, data["policies"], strict=True)
        cells = [_cells(line, each["owners"]) for line, each in told]
        headers: tuple[str, ...] = ("score", "policy", "since", "why", "what to do")
        if call.width is not None and call.width < _WIDE_COLUMNS:
            # What to do needs room: it is said of the first alone, and in full.
            cells, headers = [row[:-1] for row in cells], headers[:-1]
        yield render_table(headers, cells, width=call.width)
        if len(headers) == _NARROW and lines[0].policy.remediation:
            first = show_text(f"first, {lines[0].policy.id}: {lines[0].policy.remediation}")
            yield "\n".join(["", *wrap(first, call.width or _WIDE_COLUMNS), ""])
    if len(lines) < data["total"]:
        yield f"... {data['total'] - len(lines)} more; --limit 0 shows all\n"
    if flaps:
        yield "\nflapping:\n"
        cells = [(one.changes, one.device_id, one.policy_id, one.status or "-") for one in flaps]
        yield render_table(("changes", "device", "policy", "now"), cells, width=call.width)


def _cells(line: TriageLine, owners: Mapping[str, int]) -> tuple[object, ...]:
    why = [line.why(), *(f"{name} {count}" for name, count in owners.items())]
    if line.excused:
        why.append(f"{line.excused} excused")
    return (
        round(line.score, 1),
        line.policy.id,
        "" if line.oldest is None else encode_second(line.oldest),
        ", ".join(why),
        show_text(line.policy.remediation or line.policy.name),
    )
