"""The pure evaluation: a batch of devices and policies in, verdicts out.

For each distinct fact path one column; for each leaf one decision per distinct value; for each
group one numpy operation over the batch; findings only where a policy did not pass. A million
devices cost what their distinct values cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from fleetmdm.device import Device, DocumentBatch
from fleetmdm.evaluate.columns import Column, FactColumns, encode_column, extract_columns
from fleetmdm.evaluate.fact_path import FactPath
from fleetmdm.evaluate.findings import LOUD, Finder
from fleetmdm.evaluate.leaves import Decided, Decider
from fleetmdm.evaluate.operators.times import NEVER, Moments
from fleetmdm.evaluate.outcome import Codes, Outcome, combine
from fleetmdm.evaluate.program import Program, Selected, compile_policy, fold, program_leaves
from fleetmdm.evaluate.projection import Projection
from fleetmdm.evaluate.table import FactBatch
from fleetmdm.evaluate.verdicts import (
    NOT_CHECKED,
    NOT_SELECTED,
    Found,
    PolicyColumn,
    Search,
    VerdictBatch,
    nothing_found,
)
from fleetmdm.governance.assign import Selections
from fleetmdm.policy import Combine, CompliancePolicy

Mask = npt.NDArray[np.bool_]

_T = TypeVar("_T")


def compile_policies(
    policies: Iterable[CompliancePolicy], selections: Selections | None = None
) -> tuple[Program, ...]:
    """Prepare policies once for many batches, in the order of their ids.

    `selections` say where each is assigned; None where nothing is, so that all apply.
    """
    ordered = sorted(policies, key=lambda each: each.id)
    return tuple(compile_policy(policy, selections) for policy in ordered)


def evaluate(
    batch: Sequence[Device],
    policies: Iterable[CompliancePolicy],
    now: datetime,
    selections: Selections | None = None,
) -> VerdictBatch:
    """Every policy's verdict on every device, by device, then policy id; `now` is the `as_of`."""
    return run_programs(batch, compile_policies(policies, selections), now)


def run_programs(
    batch: Sequence[Device], programs: Sequence[Program], now: datetime
) -> VerdictBatch:
    """`evaluate` for policies that are compiled already."""
    columns = FactColumns(
        extract_columns(batch, _paths(programs)),
        os=encode_column([device.os for device in batch]),
        tags=encode_column([tuple(device.tags) for device in batch]),
    )
    device_ids = [device.device_id for device in batch]
    return _judge_all(device_ids, columns, programs, now, Finder(now))


class Evaluator:
    """Judges stored documents, batch after batch, without decoding more of them than it needs."""

    def __init__(self, programs: Sequence[Program], now: datetime) -> None:
        self._programs = programs
        self._now = now
        self._paths = _paths(programs)
        self._projection = Projection(self._paths)
        self._finder = Finder(now)
        self._some: tuple[Collection[str], Evaluator] | None = None

    def judge(
        self, batch: DocumentBatch | FactBatch, only: Collection[str] | None = None
    ) -> VerdictBatch:
        """What `run_programs` would say of the same devices; `only` are ids of policies."""
        if only is not None:
            return self._for(only).judge(batch)
        if isinstance(batch, FactBatch):
            columns = batch.table.read(self._paths, batch.device_ids, batch.last_seen)
        else:
            columns = self._projection.read(batch)
        return _judge_all(batch.device_ids, columns, self._programs, self._now, self._finder)

    def _for(self, only: Collection[str]) -> Evaluator:
        """The same for some policies; the last that was asked for is kept."""
        if self._some is None or self._some[0] != only:
            programs = [program for program in self._programs if program.policy.id in only]
            self._some = (only, Evaluator(programs, self._now))
        return self._some[1]


def _paths(programs: Sequence[Program]) -> tuple[FactPath, ...]:
    leaves = (leaf for program in programs for leaf in program_leaves(program))
    return tuple(dict.fromkeys(leaf.path for leaf in leaves))


def _judge_all(
    device_ids: Sequence[str],
    columns: FactColumns,
    programs: Sequence[Program],
    now: datetime,
    finder: Finder,
) -> VerdictBatch:
    scene = _Scene(
        finder=finder,
        device_ids=device_ids,
        decider=Decider(columns.by_path, now),
        os=replace(columns.os, values=[fold(value) for value in columns.os.values]),
        tags=replace(
            columns.tags, values=[frozenset(map(fold, value)) for value in columns.tags.values]
        ),
    )
    judged = tuple(_judge(program, scene) for program in programs)
    return VerdictBatch(tuple(device_ids), judged, scene.decider.time_told())


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all policies of one batch share."""

    finder: Finder
    device_ids: Sequence[str]
    decider: Decider
    os: Column
    tags: Column

    @property
    def size(self) -> int:
        """How many devices there are."""
        return len(self.device_ids)


def _judge(program: Program, scene: _Scene) -> PolicyColumn:
    policy_id = program.policy.id
    if not program.policy.enabled:
        return PolicyColumn(policy_id, np.full(scene.size, NOT_SELECTED, dtype=np.int8))
    tree = _decide_check(program, scene)
    if program.scope is not None:
        tree = _guard(scene.decider.decide(program.scope), tree)
    aimed = _aimed_at(program, scene)
    ends = _ends(tree, aimed)
    chosen = None if program.selected is None else _decide_selection(program.selected, scene)
    marks: list[Codes] = []
    if chosen is not None:
        tree, marks = _guard(chosen, tree), [chosen.outcomes]
        ends = _earliest(ends, _ends(chosen, None))
    outcomes = tree.outcomes
    if aimed is not None:
        outcomes = np.where(aimed, outcomes, np.int8(Outcome.NOT_APPLICABLE)).astype(np.int8)
    raw = outcomes
    finder = scene.finder
    search = Search(
        lambda: _find_all(tree, raw, finder.find_all, marks),
        lambda: _find_all(tree, raw, finder.write_all, marks),
    )
    if program.policy.attestation is not None:
        outcomes = np.where(outcomes == Outcome.TRUE, np.int8(NOT_CHECKED), outcomes)
    if chosen is not None:
        outside = np.isin(chosen.outcomes, (Outcome.FALSE, Outcome.NOT_APPLICABLE))
        # Where the policy is not assigned, its targets are not asked.
        outcomes = np.where(outside, np.int8(NOT_SELECTED), outcomes)
    return PolicyColumn(policy_id, outcomes, ends, search)


def _decide_check(program: Program, scene: _Scene) -> Decided:
    """The policy's own check; what only a person can answer holds for now."""
    if program.policy.attestation is None:
        return scene.decider.decide(program.check)
    return Decided(np.full(scene.size, Outcome.TRUE, dtype=np.int8))


def _guard(condition: Decided, tree: Decided) -> Decided:
    """The tree where the condition holds."""
    outcomes = combine(Combine.WHEN, [condition.outcomes, tree.outcomes])
    return Decided(outcomes, combine=Combine.WHEN, members=(condition, tree))


def _decide_selection(selected: Selected, scene: _Scene) -> Decided:
    """Whether assignments let the policy apply: by name, by tag, or by a condition."""
    named = np.zeros(scene.size, dtype=np.bool_)
    if selected.devices:
        named |= np.array([one in selected.devices for one in scene.device_ids], dtype=np.bool_)
    if selected.tags:
        named |= _spread(scene.tags, [bool(value & selected.tags) for value in scene.tags.values])
    members = [
        Decided(np.where(named, Outcome.TRUE, Outcome.FALSE).astype(np.int8)),
        *map(scene.decider.decide, selected.conditions),
    ]
    outcomes = combine(Combine.ANY, [member.outcomes for member in members])
    return Decided(outcomes, combine=Combine.ANY, members=tuple(members))


def _aimed_at(program: Program, scene: _Scene) -> Mask | None:
    """Devices that the policy's os and tags name; None is all."""
    if not program.os and not program.tags:
        return None
    aimed = np.ones(scene.size, dtype=np.bool_)
    if program.os:
        aimed &= _spread(scene.os, [value in program.os for value in scene.os.values])
    if program.tags:
        aimed &= _spread(scene.tags, [bool(value & program.tags) for value in scene.tags.values])
    return aimed


def _spread(column: Column, answers: list[bool]) -> Mask:
    answered: Mask = np.array(answers, dtype=np.bool_)[column.codes]
    return answered


def _ends(tree: Decided, aimed: Mask | None) -> Moments | None:
    """The earliest end of any leaf, per device that is aimed at."""
    ends = [leaf.until for leaf in tree.leaves() if leaf.until is not None]
    if not ends:
        return None
    earliest: Moments = np.minimum.reduce(ends)
    return earliest if aimed is None else np.where(aimed, earliest, NEVER)


def _earliest(one: Moments | None, other: Moments | None) -> Moments | None:
    if one is None or other is None:
        return other if one is None else one
    return np.minimum(one, other)


def _find_all(
    tree: Decided,
    outcomes: Codes,
    find: Callable[[Decided, npt.NDArray[np.intp]], list[_T]],
    marks: Sequence[Codes],
) -> Found[_T]:
    """What `find` says of every device that did not pass; devices that look alike share theirs.

    `marks` are what they must also have in common, beside the leaves.
    """
    places = np.flatnonzero(outcomes < Outcome.TRUE)
    leaves = list(tree.leaves())
    if not len(places) or not leaves:
        return nothing_found()
    looks: list[npt.NDArray[Any]] = [mark[places] for mark in marks]
    looks += [_look(leaf, places) for leaf in leaves]
    firsts, groups = _group(looks)
    return Found(places, groups, find(tree, places[firsts]))


def _group(looks: Sequence[npt.NDArray[Any]]) -> tuple[list[int], npt.NDArray[np.int32]]:
    """Who looks alike: the first of each group, and the group of each."""
    keys = list(zip(*(look.tolist() for look in looks), strict=True))
    numbers = dict(zip(dict.fromkeys(keys), count(), strict=False))
    firsts = dict(zip(reversed(keys), reversed(range(len(keys))), strict=True))
    groups = np.fromiter(map(numbers.__getitem__, keys), np.int32, len(keys))
    return [firsts[key] for key in numbers], groups


_QUIET: Final = np.where(LOUD, 0, -1 - np.arange(len(Outcome))).astype(np.int32)
"""How a leaf looks where nothing is said of it; 0 where something is."""


def _look(leaf: Decided, places: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """What a finding could say of a leaf, by number: its value where it is bad, else its outcome."""
    assert leaf.leaf is not None  # noqa: S101 - `leaves` gives leaves alone
    assert leaf.column is not None  # noqa: S101 - and they have columns
    quiet = _QUIET[int(leaf.leaf.negated)][leaf.outcomes[places]]
    return np.where(quiet < 0, quiet, leaf.column.codes[places])
