"""The pure evaluation: a batch of devices and policies in, verdicts out.

For each distinct fact path one column; for each leaf one decision per distinct value; for each
group one numpy operation over the batch; findings only where a policy did not pass. A million
devices cost what their distinct values cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmdm.device import Device
from fleetmdm.evaluate.columns import Column, encode_column, extract_columns
from fleetmdm.evaluate.findings import find
from fleetmdm.evaluate.leaves import NEVER, Decided, Decider, Moments
from fleetmdm.evaluate.outcome import Codes, Outcome, combine
from fleetmdm.evaluate.program import Program, compile_policy, fold, program_leaves
from fleetmdm.evaluate.verdicts import NOT_SELECTED, PolicyColumn, VerdictBatch
from fleetmdm.policy import Combine, CompliancePolicy
from fleetmdm.results import Finding

Mask = npt.NDArray[np.bool_]


def compile_policies(policies: Iterable[CompliancePolicy]) -> tuple[Program, ...]:
    """Prepare policies once for many batches, in the order of their ids."""
    return tuple(compile_policy(policy) for policy in sorted(policies, key=lambda each: each.id))


def evaluate(
    batch: Sequence[Device], policies: Iterable[CompliancePolicy], now: datetime
) -> VerdictBatch:
    """Every policy's verdict on every device, by device, then policy id; `now` is the `as_of`."""
    return run_programs(batch, compile_policies(policies), now)


def run_programs(
    batch: Sequence[Device], programs: Sequence[Program], now: datetime
) -> VerdictBatch:
    """`evaluate` for policies that are compiled already."""
    paths = {leaf.path for program in programs for leaf in program_leaves(program)}
    scene = _Scene(
        now=now,
        size=len(batch),
        decider=Decider(extract_columns(batch, paths), now),
        os=encode_column([fold(device.os) for device in batch]),
        tags=encode_column([frozenset(map(fold, device.tags)) for device in batch]),
    )
    columns = tuple(_judge(program, scene) for program in programs)
    return VerdictBatch(tuple(device.device_id for device in batch), columns)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all policies of one batch share."""

    now: datetime
    size: int
    decider: Decider
    os: Column
    tags: Column


def _judge(program: Program, scene: _Scene) -> PolicyColumn:
    policy_id = program.policy.id
    if not program.policy.enabled:
        return PolicyColumn(policy_id, np.full(scene.size, NOT_SELECTED, dtype=np.int8))
    check = scene.decider.decide(program.check)
    tree, outcomes = check, check.outcomes
    if program.scope is not None:
        scope = scene.decider.decide(program.scope)
        outcomes = combine(Combine.WHEN, [scope.outcomes, check.outcomes])
        tree = Decided(outcomes, combine=Combine.WHEN, members=(scope, check))
    aimed = _aimed_at(program, scene)
    outcomes = np.where(aimed, outcomes, np.int8(Outcome.NOT_APPLICABLE)).astype(np.int8)
    return PolicyColumn(
        policy_id,
        outcomes,
        _ends(tree, aimed),
        _find_all(tree, outcomes, scene.now),
    )


def _aimed_at(program: Program, scene: _Scene) -> Mask:
    """Devices that the policy's os and tags name."""
    aimed = np.ones(scene.size, dtype=np.bool_)
    if program.os:
        aimed &= _spread(scene.os, [value in program.os for value in scene.os.values])
    if program.tags:
        aimed &= _spread(scene.tags, [bool(value & program.tags) for value in scene.tags.values])
    return aimed


def _spread(column: Column, answers: list[bool]) -> Mask:
    answered: Mask = np.array(answers, dtype=np.bool_)[column.codes]
    return answered


def _ends(tree: Decided, aimed: Mask) -> Moments | None:
    """The earliest end of any leaf, per device."""
    ends = [leaf.until for leaf in tree.leaves() if leaf.until is not None]
    if not ends:
        return None
    return np.where(aimed, np.minimum.reduce(ends), NEVER)


def _find_all(tree: Decided, outcomes: Codes, now: datetime) -> dict[int, tuple[Finding, ...]]:
    """Findings of every device that did not pass; devices that look alike share theirs."""
    places = np.flatnonzero(outcomes < Outcome.TRUE)
    if not len(places):
        return {}
    codes = [_look(leaf)[places].tolist() for leaf in tree.leaves()]
    known: dict[Any, tuple[Finding, ...]] = {}
    found: dict[int, tuple[Finding, ...]] = {}
    for place, look in zip(places.tolist(), zip(*codes, strict=True), strict=True):
        findings = known.get(look)
        if findings is None:
            findings = known[look] = tuple(find(tree, place, now))
        found[place] = findings
    return found


def _look(leaf: Decided) -> npt.NDArray[np.int32]:
    """What a finding could say of a leaf, by number: its value where it is bad, else its outcome."""
    assert leaf.leaf is not None  # noqa: S101 - `leaves` gives leaves alone
    assert leaf.column is not None  # noqa: S101 - and they have columns
    good = Outcome.FALSE if leaf.leaf.negated else Outcome.TRUE
    quiet = (leaf.outcomes == good) | (leaf.outcomes == Outcome.NOT_APPLICABLE)
    return np.where(quiet, -1 - leaf.outcomes.astype(np.int32), leaf.column.codes)
