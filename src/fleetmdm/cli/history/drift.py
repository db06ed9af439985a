"""`fleetmdm drift`: which verdicts changed between two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from clikit.command.plotting import check_plot, plot_option, write_plot
from clikit.table import render_table
from fleetmdm.cli.history.values import findings_document, parse_moment
from fleetmdm.cli.judging.gate import DRIFT, split_words
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.drift import (
    Change,
    Drift,
    DriftRow,
    EffectiveTransition,
    Strangers,
    judge_drift,
    judge_effective_drift,
    without_strangers,
)
from fleetmdm.errors import FleetError
from fleetmdm.report.model import PROBLEM_STATES
from fleetmdm.results import Run, Transition
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.port import FleetStore, PopulationChange, Presence

_GATES: Final = (
    DRIFT,
    *(each.value for each in Change),
    *(state.value for state in PROBLEM_STATES),
)


@click.command()
@click.option("--from", "before", type=click.IntRange(min=1), help="The earlier run.")
@click.option("--to", "after", type=click.IntRange(min=1), help="The later run [newest].")
@click.option("--since", help="Take as earlier run the first as of this RFC 3339 time or later.")
@click.option("--include-new-missing", is_flag=True, help="Show what only one of the runs knew.")
@click.option(
    "--effective",
    is_flag=True,
    help="Compare what waivers, grace, attestations and stale inventory made of the verdicts.",
)
@click.option("--device", "device_id", help="Only this device.")
@click.option("--policy", "policy_id", help="Only this policy.")
@list_options
@click.option(
    "--fail-on",
    multiple=True,
    metavar="KIND",
    help=f"Exit with 1 if there is any drift, any of this kind, or a changed verdict that now has "
    f"this state: {', '.join(_GATES)}; may be repeated.",
)
@plot_option("the changes of each policy")
@fleet_options()
def command(call: FleetCall, *, listing: Listing, plot: Path | None, **options: Any) -> None:
    """Show verdicts that changed between two runs, by default the last two.

    `-` stands for a device or policy that the run did not know.
    """
    gates = split_words(options["fail_on"], _GATES)
    if plot is not None:
        check_plot(plot, output=call.output)
    with call.open_store() as store:
        before, after = _choose_runs(
            store, options["before"], options["after"], parse_moment("--since", options["since"])
        )
        changes = list(store.population_changes(before.run_id, after.run_id))
        strangers = {
            "new": _strangers(changes, Presence.NEW),
            "vanished": _strangers(changes, Presence.VANISHED),
        }
        if options["effective"]:
            shown = judge_effective_drift(_effective(store, before, after, options), **strangers)
        else:
            shown = judge_drift(_raw(store, before, after, options), **strangers)
    if not options["include_new_missing"]:
        shown, changes = without_strangers(shown), []
    if plot is not None:
        from fleetmdm.report.plot.drift import render

        write_plot(call, plot, render(before, after, shown, suffix=plot.suffix))
    found = _found(shown, changes, gates)
    rows = listing.choose(call, shown.rows, _row)
    call.emit(
        _document(before, after, shown, rows, changes),
        lambda: _text(call, before, after, shown, rows, changes),
        found=found,
    )


def _choose_runs(
    store: FleetStore, before: int | None, after: int | None, since: datetime | None
) -> tuple[Run, Run]:
    """The two runs to compare. Raises `insufficient_runs`, `run_not_found`, `usage`."""
    runs = list(store.runs())
    later = store.run(after) if after is not None else next(iter(runs), None)
    older = [run for run in runs if later is not None and run.run_id < later.run_id]
    if since is not None:
        older = [run for run in older if run.as_of >= since][-1:]
    if before is not None:
        older = [store.run(before)]
    if later is None or not older:
        hint = "record them with `fleetmdm check`; see `fleetmdm runs`"
        raise FleetError("insufficient_runs", "drift needs two runs", hint=hint)
    if older[0].run_id >= later.run_id:
        raise FleetError("usage", "--from must be a run before --to", hint="see `fleetmdm runs`")
    return older[0], later


def _raw(
    store: FleetStore, before: Run, after: Run, options: Mapping[str, Any]
) -> list[Transition]:
    found = [
        one
        for one in store.transitions(before.run_id, after.run_id)
        if options["device_id"] in {None, one.device_id}
        and options["policy_id"] in {None, one.policy_id}
    ]
    return _complete(store, before, after, found)


def _effective(
    store: FleetStore, before: Run, after: Run, options: Mapping[str, Any]
) -> Iterator[EffectiveTransition]:
    from fleetmdm.engines.effective import effective_transitions

    chosen = {name: options[name] for name in ("device_id", "policy_id")}
    return effective_transitions(store, before, after, **chosen)


def _complete(
    store: FleetStore, before: Run, after: Run, transitions: list[Transition]
) -> list[Transition]:
    """The transitions with the states that have no row."""
    from fleetmdm.engines.replay import silent_states

    was, now = (
        silent_states(
            store,
            run,
            [(one.device_id, one.policy_id) for one in transitions if getattr(one, side) is None],
        )
        for run, side in ((before, "before"), (after, "after"))
    )
    return [
        replace(
            one,
            before=one.before or was.get((one.device_id, one.policy_id)),
            after=one.after or now.get((one.device_id, one.policy_id)),
        )
        for one in transitions
    ]


def _strangers(changes: list[PopulationChange], presence: Presence) -> Strangers:
    ids = {
        kind: frozenset(one.id for one in changes if (one.kind, one.presence) == (kind, presence))
        for kind in ("device", "policy")
    }
    return Strangers(ids["device"], ids["policy"])


def _found(
    drift: Drift, changes: list[PopulationChange], kinds: Sequence[str]
) -> FleetError | None:
    if not any(_occurs(drift, changes, kind) for kind in kinds):
        return None
    words = [f"{count} {change}" for change, count in drift.counts.items() if count]
    details = {change.value: count for change, count in drift.counts.items()}
    message = ", ".join(words) or f"{len(changes)} devices or policies are new or vanished"
    return FleetError("drift_found", f"drift: {message}", details=details)


def _occurs(drift: Drift, changes: list[PopulationChange], kind: str) -> bool:
    if kind == DRIFT:
        return bool(drift.rows or changes)
    if kind in {state.value for state in PROBLEM_STATES}:
        return any((row.effective or row.transition).after == kind for row in drift.rows)
    return drift.counts[Change(kind)] > 0


def _document(
    before: Run,
    after: Run,
    drift: Drift,
    rows: Sequence[DriftRow],
    changes: list[PopulationChange],
) -> dict[str, Any]:
    return {
        "from": _run(before),
        "to": _run(after),
        "counts": {change.value: count for change, count in drift.counts.items()},
        "policies": [
            {"policy_id": policy, **{change.value: count for change, count in counts.items()}}
            for policy, counts in sorted(drift.by_policy.items())
        ],
        "rows": [_row(row) for row in rows],
        "population": [
            {"kind": one.kind, "id": one.id, "presence": one.presence.value} for one in changes
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "as_of": encode_time(run.as_of),
        "devices": run.devices,
        "policies": run.policies,
    }


def _row(row: DriftRow) -> dict[str, Any]:
    one = row.transition
    return {
        "change": row.change.value,
        "device_id": one.device_id,
        "policy_id": one.policy_id,
        "before": one.before,
        "after": one.after,
        **_standing(row.effective),
        "findings": findings_document(one.findings),
    }


def _standing(one: EffectiveTransition | None) -> dict[str, Any]:
    if one is None:
        return {}
    return {"effective_before": one.before, "effective_after": one.after, "reason": one.reason}


def _text(
    call: FleetCall,
    before: Run,
    after: Run,
    drift: Drift,
    rows: Sequence[DriftRow],
    changes: list[PopulationChange],
) -> Iterator[str]:
    counts = ", ".join(f"{count} {change}" for change, count in drift.counts.items() if count)
    yield f"run {before.run_id} -> run {after.run_id}: {counts or 'no verdict changed'}\n"
    if rows:
        yield "\n"
        headers = ("change", "device", "policy", "before", "after", "why")
        yield render_table(headers, [_cells(row) for row in rows], width=call.width)
    if len(rows) < len(drift.rows):
        yield f"{len(rows)} of {len(drift.rows)} shown\n"
    if changes:
        yield "\n"
        cells = [(one.presence.value, one.kind, one.id) for one in changes]
        yield render_table(("change", "kind", "id"), cells, width=call.width)


def _cells(row: DriftRow) -> tuple[str, ...]:
    one = row.transition
    why = "; ".join(each.message for each in one.findings)
    if row.effective is None:
        states = (one.before or "-", one.after or "-")
    else:
        states = (row.effective.before or "-", row.effective.after or "-")
        why = row.effective.reason or why
    return (row.change.value, one.device_id, one.policy_id, *states, why)
