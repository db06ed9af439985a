"""The local engine: streams a run's devices through the evaluator and hands on the verdicts.

Memory holds one batch, whatever the size of the fleet. Any engine must give the same verdicts and
the same hashes; this one is the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import (
    EVALUATOR_VERSION,
    Evaluator,
    VerdictBatch,
    compile_policies,
    evaluate,
)
from fleetmdm.evaluate.program import Program, program_leaves
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.ledger.roots import policy_set_hash
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Run
from fleetmdm.store.port import (
    FleetStore,
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


def load_policies(sources: Iterable[tuple[str, bytes]]) -> tuple[CompliancePolicy, ...]:
    """Parse stored policies; raises `policy_invalid` where the language has moved on."""
    return tuple(parse_policy(source, name=f"policy {name}") for name, source in sources)


def record_run(
    store: FleetStore,
    new: NewRun,
    *,
    clock: Callable[[], datetime],
    advance: Callable[[int], None] = lambda _devices: None,
    expect: Callable[[int], None] = lambda _devices: None,
    full: bool = False,
) -> Recorded:
    """Judge what may have changed since the newest run, or with `full` everything; record the run.

    `expect` is told how many devices there are to judge, `advance` how many were.
    Raises `no_policies`, `no_devices`, `policy_invalid`; then nothing is recorded.
    """
    try:
        return _record(store, new, clock, (expect, advance), full=full)
    except RunOvertaken:
        # What it built on is no longer the newest; a full run builds on nothing.
        return _record(store, new, clock, (expect, advance), full=True)


def _record(
    store: FleetStore,
    new: NewRun,
    clock: Callable[[], datetime],
    progress: tuple[Callable[[int], None], Callable[[int], None]],
    *,
    full: bool,
) -> Recorded:
    expect, advance = progress
    with store.begin_run(new) as writer:
        sources = list(writer.policy_sources())
        policies = _some_policies(load_policies(sources))
        if writer.is_empty():
            raise no_devices()
        selections = load_selections(writer.assignments(), only_assigned=new.only_assigned)
        programs = compile_policies(policies, selections)
        question = ask(programs, sources, writer, new)
        evaluator = Evaluator(programs, new.as_of)
        expect(writer.plan(question, full=full))
        for batch in writer.due():
            writer.add_batch(batch, evaluator.judge(batch))
            advance(len(batch))
        inventory, results = writer.roots()
        hashes = RunHashes(policy_set_hash(sources), inventory.hex(), results.hex())
        run = writer.finish(finished_at=clock(), hashes=hashes, leaf=encode_run_leaf)
    return Recorded(run, policies)


def ask(
    programs: Sequence[Program],
    sources: Iterable[tuple[str, bytes]],
    writer: RunWriter,
    new: NewRun,
) -> Question:
    """All that verdicts depend on beside devices and time."""
    told = {
        "evaluator": EVALUATOR_VERSION,
        "tool": new.tool_version,
        "policies": policy_set_hash(sources),
        "assignments": [repr(one) for one in writer.assignments()],
        "only_assigned": new.only_assigned,
    }
    leaves = [leaf for program in programs for leaf in program_leaves(program)]
    return Question(
        json.dumps(told, sort_keys=True),
        timely=any(leaf.row.timely for leaf in leaves),
        reads_last_seen=any(leaf.path.steps[0] == "last_seen" for leaf in leaves),
    )


def load_current(store: FleetStore) -> tuple[CompliancePolicy, ...]:
    """The policies that a check would judge by now. Raises `no_policies`, `policy_invalid`."""
    return _some_policies(load_policies(store.policy_sources()))


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
