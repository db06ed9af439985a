"""Where assignments let policies apply, read from any store through its port."""

from __future__ import annotations

from collections.abc import Iterable

from fleetmdm.governance.assign import Assignment, Selections, select
from fleetmdm.policy import Node
from fleetmdm.results import Run
from fleetmdm.store.port import FleetStore


def load_selections(assignments: Iterable[Assignment], *, only_assigned: bool) -> Selections | None:
    """Where each policy applies; None where nothing is assigned, so that all apply."""
    return select(assignments, _parse_condition, only_assigned=only_assigned)


def run_selections(store: FleetStore, run: Run) -> Selections | None:
    """Where each policy applied in a run."""
    return load_selections(store.run_assignments(run.run_id), only_assigned=run.only_assigned)


def _parse_condition(text: str) -> Node:
    from fleetmdm.policy_yaml import parse_selector

    return parse_selector(text, name="an assignment's selector")[0]
