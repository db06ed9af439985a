"""States that the store keeps no row for, found again by judging what a run pinned.

A verdict that passes or does not apply is not stored; the run's documents, policies and `as_of`
are, and they give it back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fleetmdm.device import Device
from fleetmdm.engines.local import BATCH_DEVICES, batched
from fleetmdm.evaluate import compile_policies, run_programs
from fleetmdm.results import SILENT, Run, Status
from fleetmdm.store.port import FleetStore
from fleetmdm.store.selections import run_selections

Pair = tuple[str, str]
"""Device id, policy id."""

_FEW = 200
"""Up to so many devices are looked up one by one; for more, the run's fleet is read through."""


def silent_states(store: FleetStore, run: Run, pairs: Collection[Pair]) -> dict[Pair, Status]:
    """The silent state of each pair in a run; a pair that the run did not know has none."""
    wanted_devices = {device for device, _ in pairs}
    wanted_policies = {policy for _, policy in pairs}
    policies = store.policies_of_run(run.run_id, wanted_policies)
    if not policies:
        return {}
    programs = compile_policies(policies, run_selections(store, run))
    wanted = frozenset(pairs)
    return {
        (verdict.device_id, verdict.policy_id): verdict.status
        for batch in batched(_devices(store, run, wanted_devices), BATCH_DEVICES)
        for verdict in run_programs(batch, programs, run.as_of)
        if verdict.status in SILENT and (verdict.device_id, verdict.policy_id) in wanted
    }


def _devices(store: FleetStore, run: Run, wanted: set[str]) -> Iterator[Device]:
    if len(wanted) <= _FEW:
        for device_id in sorted(wanted):
            yield from store.run_devices(run.run_id, device_id=device_id)
    else:
        yield from (one for one in store.run_devices(run.run_id) if one.device_id in wanted)
