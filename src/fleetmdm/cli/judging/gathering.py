"""What a report is made of, read from the store: a recorded run, or the fleet as it is now.

Rows stream, and so do devices; what is held is a count for each policy. A run's passes have no
rows, so where only some devices are asked for, those are judged again as the run judged them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.governance.assign import Selections
from fleetmdm.governance.effective import Differences, EffectiveStatus, JudgedRow
from fleetmdm.policy import CompliancePolicy
from fleetmdm.report.model import PolicyLine, Report, add_counts, row_stream, sort_lines
from fleetmdm.report.selection import Selection
from fleetmdm.results import SILENT, ResultRow, Run, Status
from fleetmdm.store.port import FleetStore
from fleetmdm.store.selections import load_selections, run_selections
from fleetmdm.store.standing import RunStanding, judge_rows_now

if TYPE_CHECKING:
    # What only judging needs is imported where something is judged: a report of a whole run is not.
    from fleetmdm.evaluate.program import Program

Counts = Mapping[str, Mapping[Status, int]]


@dataclass(frozen=True, slots=True)
class Moment:
    """When and by what a live report judges."""

    now: datetime
    tool_version: str
    stale_after: timedelta


@dataclass(frozen=True, slots=True)
class Source:
    """A recorded run or the fleet as it is now, behind one face."""

    policies: Sequence[CompliancePolicy]
    selections: Selections | None
    as_of: datetime
    stale_after: timedelta
    read_devices: Callable[[str | None], Iterator[Device]]
    """Every device, or the one of an id."""

    def devices(self, selection: Selection) -> Iterator[Device]:
        """The devices asked for, by id. Raises `device_not_found`."""
        if not selection.device_ids:
            found = self.read_devices(None)
        else:
            found = (self._device(name) for name in sorted(set(selection.device_ids)))
        wanted = set(selection.tags)
        return (one for one in found if not wanted or wanted & set(one.tags))

    def _device(self, device_id: str) -> Device:
        device = next(self.read_devices(device_id), None)
        if device is None:
            raise FleetError(
                "device_not_found",
                f"there is no device {device_id}",
                hint="see fleetmdm device list",
                details={"device_id": device_id},
            )
        return device

    def programs(self) -> Sequence[Program]:
        """The policies, compiled where they apply."""
        from fleetmdm.evaluate import compile_policies

        return compile_policies(self.policies, self.selections)

    def is_stale(self, device: Device) -> bool:
        """Whether what a device says is too old to be believed."""
        return bool(self.stale_after) and self.as_of >= device.last_seen + self.stale_after


def find_run(store: FleetStore, run_id: int | None) -> Run:
    """The run of a number, or the newest. Raises `run_not_found`."""
    if run_id is not None:
        return store.run(run_id)
    latest = next(iter(store.runs(limit=1)), None)
    if latest is None:
        raise FleetError("run_not_found", "there is no run yet", hint="fleetmdm check makes one")
    return latest


def gather_stored(store: FleetStore, run: Run, selection: Selection) -> Report:
    """The report of a recorded run. Raises `device_not_found`, `policy_not_found`."""
    source = Source(
        store.policies_of_run(run.run_id),
        run_selections(store, run),
        run.as_of,
        timedelta(seconds=run.stale_after_s),
        lambda name: store.run_devices(run.run_id, device_id=name),
    )
    _refuse_unknown(source, selection)
    standing = RunStanding(store, run, source.policies)

    def rows() -> Iterator[JudgedRow]:
        return standing.judge(_stored_rows(store, run, source, selection))

    devices, counts = run.devices, run.policy_counts
    if selection.chooses_devices:
        devices, counts, differences = _count(source, selection, rows())
    else:
        differences = standing.differences()
    assigned = {one.policy_id for one in store.run_assignments(run.run_id)}
    lines = _lines(source.policies, (counts, differences), selection, assigned)
    return Report(run, lines, row_stream(rows(), lines, selection), selection, devices=devices)


def gather_live(store: FleetStore, selection: Selection, moment: Moment) -> Report:
    """A report of the fleet as it is; nothing is recorded. It judges twice: to count, and to show.

    Raises `no_policies`, `device_not_found`, `policy_not_found`.
    """
    from fleetmdm.engines.local import load_current

    now = moment.now
    assignments = list(store.assignments())
    source = Source(
        load_current(store),
        load_selections(assignments, only_assigned=selection.only_assigned),
        now,
        moment.stale_after,
        lambda name: store.devices(device_id=name),
    )
    _refuse_unknown(source, selection)

    def rows() -> Iterator[JudgedRow]:
        policies = {policy.id: policy for policy in source.policies}
        loud = _live_rows(source, selection)
        return judge_rows_now(store, loud, policies, as_of=now, stale_after=moment.stale_after)

    devices, counts, differences = _count(source, selection, rows())
    run = Run(
        run_id=0,
        started_at=now,
        finished_at=now,
        as_of=now,
        devices=devices,
        policies=len(source.policies),
        counts=add_counts(counts.values()),
        tool_version=moment.tool_version,
        policy_set_hash="",
        inventory_root="",
        result_root="",
        policy_counts=counts,
    )
    assigned = {one.policy_id for one in assignments}
    lines = _lines(source.policies, (counts, differences), selection, assigned)
    return Report(run, lines, row_stream(rows(), lines, selection), selection, live=True)


def _refuse_unknown(source: Source, selection: Selection) -> None:
    known = {policy.id for policy in source.policies}
    for name in selection.policy_ids:
        if name not in known:
            raise FleetError(
                "policy_not_found",
                f"there is no policy {name}",
                hint="see fleetmdm policy list",
                details={"policy_id": name},
            )


def _count(
    source: Source, selection: Selection, rows: Iterable[JudgedRow]
) -> tuple[int, dict[str, dict[Status, int]], dict[str, Differences]]:
    """How many devices there are, their raw states, and where the effective ones differ."""
    from fleetmdm.engines.local import BATCH_DEVICES, batched
    from fleetmdm.evaluate import run_programs

    counts = {policy.id: Counter[Status]() for policy in source.policies}
    changed = {policy.id: Counter[tuple[Status, EffectiveStatus]]() for policy in source.policies}
    programs, devices = source.programs(), 0
    for batch in batched(source.devices(selection), BATCH_DEVICES):
        devices += len(batch)
        stale = [place for place, device in enumerate(batch) if source.is_stale(device)]
        for column in run_programs(batch, programs, source.as_of).columns:
            counts[column.policy_id].update(column.counts())
            passes = sum(column.verdict(place, "").status is Status.PASS for place in stale)
            changed[column.policy_id][Status.PASS, EffectiveStatus.STALE] += passes
    for each in rows:
        state = each.effective.status
        if state.value != each.row.status.value:
            changed[each.row.policy_id][each.row.status, state] += 1
    return (
        devices,
        {name: dict(each) for name, each in counts.items()},
        {name: dict(+each) for name, each in changed.items()},
    )


def _lines(
    policies: Iterable[CompliancePolicy],
    found: tuple[Counts, Mapping[str, Differences]],
    selection: Selection,
    assigned: set[str],
) -> list[PolicyLine]:
    counts, differences = found
    lines = (
        PolicyLine(policy, counts.get(policy.id, {}), differences.get(policy.id, {}))
        for policy in policies
        if selection.has_policy(policy) and (not selection.only_assigned or policy.id in assigned)
    )
    shown = sort_lines((line for line in lines if _is_shown(line, selection)), selection.sort_by)
    return shown[: selection.top] if selection.top else shown


def _is_shown(line: PolicyLine, selection: Selection) -> bool:
    failed, passed = line.count(Status.FAIL), line.count(Status.PASS)
    return (not selection.only_failing or failed > 0) and (
        not selection.only_skipped or (failed == 0 and passed == 0)
    )


def _stored_rows(
    store: FleetStore, run: Run, source: Source, selection: Selection
) -> Iterator[ResultRow]:
    device = selection.device_ids[0] if len(selection.device_ids) == 1 else None
    policy = selection.policy_ids[0] if len(selection.policy_ids) == 1 else None
    statuses = frozenset({Status.FAIL}) if selection.only_failing else frozenset[Status]()
    rows = store.results(run.run_id, device_id=device, policy_id=policy, statuses=statuses)
    if not selection.chooses_devices:
        return rows
    return _of_devices(rows, (one.device_id for one in source.devices(selection)))


def _of_devices(rows: Iterable[ResultRow], device_ids: Iterator[str]) -> Iterator[ResultRow]:
    """The rows of some devices; both come in the order of the ids."""
    current = next(device_ids, None)
    for row in rows:
        while current is not None and current < row.device_id:
            current = next(device_ids, None)
        if current is None:
            return
        if current == row.device_id:
            yield row


def _live_rows(source: Source, selection: Selection) -> Iterator[tuple[Device, ResultRow]]:
    from fleetmdm.engines.local import BATCH_DEVICES, batched
    from fleetmdm.evaluate import run_programs

    programs = source.programs()
    for batch in batched(source.devices(selection), BATCH_DEVICES):
        verdicts = run_programs(batch, programs, source.as_of)
        for place, device in enumerate(batch):
            for column in verdicts.columns:
                one = column.verdict(place, device.device_id)
                if one.status not in SILENT:
                    row = ResultRow(one.device_id, one.policy_id, one.status, one.findings, 0, None)
                    yield device, row
