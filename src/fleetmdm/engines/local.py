"""The local engine: streams a run's devices through the evaluator and hands on the verdicts.

Memory holds one batch, whatever the size of the fleet. Any engine must give the same verdicts and
the same hashes; this one is the reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from fleetmdm.device import Device
from fleetmdm.engines.pool import Order, choose_workers, judge_together
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import (
    EVALUATOR_VERSION,
    Evaluator,
    VerdictBatch,
    compile_policies,
    evaluate,
)
from fleetmdm.evaluate.program import Program, program_leaves
from fleetmdm.governance.assign import Assignment, Selections
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.ledger.roots import policy_set_hash
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Run
from fleetmdm.store.port import (
    FleetStore,
    Judged,
    NewRun,
    Question,
    RunHashes,
    RunOvertaken,
    RunWriter,
)
from fleetmdm.store.selections import load_selections

BATCH_DEVICES: Final = 1_000
"""Devices evaluated at once: enough for columns to pay, and what is decoded stays in the processor's
cache (ten times as many take twice as long to decode)."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished run and the policies it judged by."""

    run: Run
    policies: tuple[CompliancePolicy, ...]


def record_run(
    store: FleetStore,
    new: NewRun,
    *,
    clock: Callable[[], datetime],
    advance: Callable[[int], None] = lambda _devices: None,
    expect: Callable[[int], None] = lambda _devices: None,
    full: bool = False,
    workers: int = 0,
) -> Recorded:
    """Judge what may have changed since the newest run, or with `full` everything; record the run.

    `expect` is told how many devices there are to judge, `advance` how many were. `workers` are the
    processes that judge: 1 is this one alone, 0 as many as pay.
    Raises `no_policies`, `no_devices`, `policy_invalid`; then nothing is recorded.
    """
    run = _Attempt(store, new, clock, expect, advance, workers)
    try:
        return run.record(full=full, alone=True)
    except RunOvertaken:
        # Somebody recorded a run meanwhile; this time it may happen again.
        return run.record(full=True, alone=False)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What `record_run` was given."""

    store: FleetStore
    new: NewRun
    clock: Callable[[], datetime]
    expect: Callable[[int], None]
    advance: Callable[[int], None]
    workers: int

    def record(self, *, full: bool, alone: bool) -> Recorded:
        """One try."""
        new = self.new
        with self.store.begin_run(new) as writer:
            policies = _some_policies(writer.policies())
            sources = [(policy.id, policy.source) for policy in policies]
            if writer.is_empty():
                raise no_devices()
            assignments = tuple(writer.assignments())
            selections = load_selections(assignments, only_assigned=new.only_assigned)
            programs = compile_policies(policies, selections)
            question = ask(programs, assignments, selections, new)
            self.expect(writer.plan(question, full=full, alone=alone))
            order = Order(writer.desk(), policies, assignments, new.only_assigned, new.as_of)
            for judged in self._judge(writer, programs, order):
                writer.take(judged)
                self.advance(judged.count)
            inventory, results = writer.roots()
            hashes = RunHashes(policy_set_hash(sources), inventory.hex(), results.hex())
            run = writer.finish(finished_at=self.clock(), hashes=hashes, leaf=encode_run_leaf)
        return Recorded(run, policies)

    def _judge(
        self, writer: RunWriter, programs: Sequence[Program], order: Order
    ) -> Iterator[Judged]:
        tasks = writer.tasks()
        judge = Evaluator(programs, order.as_of).judge
        workers = choose_workers(self.workers, len(tasks))
        return judge_together(order, tasks, workers, lambda task: writer.do(task, judge))


def ask(
    programs: Sequence[Program],
    assignments: Iterable[Assignment],
    selections: Selections | None,
    new: NewRun,
) -> Question:
    """All that verdicts depend on beside devices and time."""
    told = {
        "evaluator": EVALUATOR_VERSION,
        "tool": new.tool_version,
        # One assignment is enough to take every policy away from where it is not assigned.
        "assigned": selections is not None,
    }
    scopes: dict[str, list[str]] = {}
    for one in assignments:
        scopes.setdefault(one.policy_id, []).append(repr(one.scope))
    leaves = [leaf for program in programs for leaf in program_leaves(program)]
    return Question(
        json.dumps(told, sort_keys=True),
        {one.policy.id: _ask_policy(one.policy, scopes.get(one.policy.id)) for one in programs},
        timely=any(leaf.row.timely for leaf in leaves),
        reads_last_seen=any(leaf.path.steps[0] == "last_seen" for leaf in leaves),
    )


def _ask_policy(policy: CompliancePolicy, scopes: list[str] | None) -> str:
    told = json.dumps([policy.sha256, scopes and sorted(scopes)])
    return hashlib.sha256(told.encode()).hexdigest()


def load_current(store: FleetStore) -> tuple[CompliancePolicy, ...]:
    """The policies that a check would judge by now. Raises `no_policies`, `policy_invalid`."""
    return _some_policies(store.policies())


def judge_device(
    store: FleetStore, device_id: str, *, as_of: datetime, only_assigned: bool = False
) -> Judgement:
    """What the current policies say of one device, without recording a run."""
    policies = load_current(store)
    devices = list(store.devices(device_id=device_id))
    if not devices:
        raise FleetError(
            "device_not_found",
            f"there is no device {device_id}",
            hint="see fleetmdm device list",
            details={"device_id": device_id},
        )
    selections = load_selections(store.assignments(), only_assigned=only_assigned)
    return Judgement(evaluate(devices, policies, as_of, selections), policies)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts that are not recorded, and the policies behind them."""

    verdicts: VerdictBatch
    policies: tuple[CompliancePolicy, ...]


def _some_policies(policies: tuple[CompliancePolicy, ...]) -> tuple[CompliancePolicy, ...]:
    if not policies:
        raise FleetError(
            "no_policies",
            "there is no policy to evaluate",
            hint="fleetmdm policy add FILE, or policy add --library all",
        )
    return policies


def no_devices() -> FleetError:
    """What is raised where the fleet is empty."""
    return FleetError(
        "no_devices", "there is no device to evaluate", hint="fleetmdm ingest FILE, or collect"
    )


def batched(devices: Iterator[Device], size: int) -> Iterator[list[Device]]:
    """Lists of at most `size` devices."""
    while batch := list(islice(devices, size)):
        yield batch
