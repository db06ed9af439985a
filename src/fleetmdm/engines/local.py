"""The local engine: streams a run's devices through the evaluator and hands on the verdicts.

Memory holds one batch, whatever the size of the fleet. Any engine must give the same verdicts and
the same hashes; this one is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import Evaluator, compile_policies, evaluate
from fleetmdm.evaluate.program import Program
from fleetmdm.evaluate.verdicts import STATES, VerdictBatch
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.ledger.merkle import TreeHasher
from fleetmdm.ledger.roots import ResultLeaves, policy_set_hash
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Run
from fleetmdm.store.port import FleetStore, NewRun, RunHashes, RunWriter
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
    batch_devices: int = BATCH_DEVICES,
) -> Recorded:
    """Judge every device under every policy and record the run.

    Raises `no_policies`, `no_devices`, `policy_invalid`; then nothing is recorded.
    """
    with store.begin_run(new) as writer:
        sources = list(writer.policy_sources())
        policies = _some_policies(load_policies(sources))
        if not writer.device_count():
            raise no_devices()
        selections = load_selections(writer.assignments(), only_assigned=new.only_assigned)
        programs = compile_policies(policies, selections)
        inventory, results = _judge(writer, programs, new.as_of, advance, batch_devices)
        hashes = RunHashes(
            policy_set_hash=policy_set_hash(sources),
            inventory_root=inventory.root().hex(),
            result_root=results.root().hex(),
        )
        run = writer.finish(finished_at=clock(), hashes=hashes, leaf=encode_run_leaf)
    return Recorded(run, policies)


def _judge(
    writer: RunWriter,
    programs: tuple[Program, ...],
    as_of: datetime,
    advance: Callable[[int], None],
    batch_devices: int,
) -> tuple[TreeHasher, TreeHasher]:
    evaluator = Evaluator(programs, as_of)
    leaves = ResultLeaves([program.policy.id for program in programs], STATES)
    inventory, results = TreeHasher(), TreeHasher()
    for batch in writer.documents(batch_devices):
        verdicts = evaluator.judge(batch)
        writer.add_batch(batch, verdicts)
        inventory.add_all(batch.whole())
        results.add_all(leaves.leaf(device, codes) for device, codes in verdicts.state_codes())
        advance(len(batch))
    return inventory, results


def judge_device(
    store: FleetStore, device_id: str, *, as_of: datetime, only_assigned: bool = False
) -> Judgement:
    """What the current policies say of one device, without recording a run."""
    policies = _some_policies(load_policies(store.policy_sources()))
    devices = list(store.devices(device_id=device_id))
    if not devices:
        raise FleetError(
            "device_not_found", f"there is no device {device_id}", hint="see fleetmdm device list"
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
