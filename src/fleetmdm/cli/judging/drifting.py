"""How many verdicts differ from those of the run before: what `--fail-on drift` asks."""

from __future__ import annotations

from collections.abc import Collection

from fleetmdm.report.selection import EVERYTHING, Selection
from fleetmdm.results import Run
from fleetmdm.store.port import FleetStore


def count_changed(
    store: FleetStore, run: Run, shown: Collection[str], selection: Selection = EVERYTHING
) -> int:
    """Changed verdicts of the policies shown, on the devices selected; 0 for a first run.

    Devices and policies that only one of the two runs knew do not count, as in `drift`.
    """
    earlier = next((one for one in store.runs() if one.run_id < run.run_id), None)
    if earlier is None:
        return 0
    changes = list(store.population_changes(earlier.run_id, run.run_id))
    strangers = {(one.kind, one.id) for one in changes}
    wanted = _selected(store, run, selection)
    return sum(
        1
        for one in store.transitions(earlier.run_id, run.run_id)
        if one.policy_id in shown
        and (wanted is None or one.device_id in wanted)
        and ("device", one.device_id) not in strangers
        and ("policy", one.policy_id) not in strangers
    )


def _selected(store: FleetStore, run: Run, selection: Selection) -> Collection[str] | None:
    """The ids of the devices that were asked for; None is all."""
    if not selection.tags:
        return selection.device_ids or None
    tags, named = set(selection.tags), selection.device_ids
    return {
        one.device_id
        for one in store.run_devices(run.run_id)
        if tags & set(one.tags) and (not named or one.device_id in named)
    }
