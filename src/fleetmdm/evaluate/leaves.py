"""Deciding a compiled tree over a batch: leaves by distinct value, groups by numpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from fleetmdm.evaluate.columns import Column
from fleetmdm.evaluate.fact_path import Absent, Elements
from fleetmdm.evaluate.operators.row import FactFault
from fleetmdm.evaluate.operators.times import NEVER, Moments, encode_end
from fleetmdm.evaluate.outcome import Codes, Outcome, combine
from fleetmdm.evaluate.program import Compiled, CompiledLeaf
from fleetmdm.policy import Combine

FEW_VALUES: Final = 32
"""Up to so many, deciding one by one costs less than deciding them at once."""

_TRUE, _FALSE = np.int8(Outcome.TRUE), np.int8(Outcome.FALSE)

_SIMPLE: Final = frozenset({str, int, float, bool})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a leaf says of one value; `reason` explains all but true."""

    outcome: Outcome
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A node decided for every device of a batch; a leaf has its column, a group its members."""

    outcomes: Codes
    leaf: CompiledLeaf | None = None
    column: Column | None = None
    until: Moments | None = None
    """Of a leaf, per device; None where no value has an end."""
    combine: Combine = Combine.ALL
    members: tuple[Decided, ...] = ()

    def leaves(self) -> Iterator[Decided]:
        """Every leaf below, in the order of the policy."""
        if self.leaf is not None:
            yield self
        for member in self.members:
            yield from member.leaves()


class Distinct:
    """The distinct values of a column; what several leaves want to know of them is found out once."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self._kinds: list[type] = []
        self._easy: dict[frozenset[type], tuple[list[int], tuple[Any, ...]]] = {}

    def easy(self, types: frozenset[type]) -> tuple[list[int], tuple[Any, ...]]:
        """Where values of other types stand, and the values with an easy one in place of these."""
        known = self._easy.get(types)
        if known is None:
            if not self._kinds:
                self._kinds = list(map(type, self.values))
            odd = _odd_places(self._kinds, types)
            known = self._easy[types] = (odd, _without(self.values, odd, types))
        return known


def _odd_places(kinds: Sequence[type], types: frozenset[type]) -> list[int]:
    """Where other types stand, ascending; mostly there are none, or few of few kinds."""
    odd = []
    for kind in set(kinds) - types:
        place = -1
        for _ in range(kinds.count(kind)):
            place = kinds.index(kind, place + 1)
            odd.append(place)
    return sorted(odd)


def _without(values: Sequence[Any], odd: Sequence[int], types: frozenset[type]) -> tuple[Any, ...]:
    """The odd ones are decided again; nothing where there is no easy one."""
    if len(odd) == len(values):
        return ()
    easy = list(values)
    filler = next(value for value in values if type(value) in types) if odd else None
    for place in odd:
        easy[place] = filler
    return tuple(easy)


class Decider:
    """Decides trees over one batch; a question that two policies ask is answered once."""

    def __init__(self, columns: Mapping[str, Column], now: datetime) -> None:
        self._columns = columns
        self._now = now
        self._answers: dict[Any, Decided] = {}
        self._distinct: dict[str, Distinct] = {}

    def decide(self, node: Compiled) -> Decided:
        """Decide a tree."""
        if isinstance(node, CompiledLeaf):
            answered = self._answers.get(node.question)
            if answered is None:
                answered = self._answers[node.question] = self._decide_leaf(node)
            return Decided(answered.outcomes, node, answered.column, answered.until)
        members = tuple(map(self.decide, node.members))
        outcomes = combine(node.combine, [member.outcomes for member in members])
        return Decided(outcomes, combine=node.combine, members=members)

    def time_told(self) -> bytes:
        """All that "now" had a say in: equal columns are told equally where this is equal."""
        told = []
        for one in self._answers.values():
            if one.leaf is None or one.until is None:
                continue
            told += [one.outcomes.tobytes(), one.until.tobytes()]
            if one.leaf.path.first_each < len(one.leaf.path.steps):
                # Which elements are to be named may change while the whole is told the same.
                told.append(self._now.isoformat().encode())
        return b"".join(told)

    def _decide_leaf(self, leaf: CompiledLeaf) -> Decided:
        """Decide every distinct value once and spread the answers over the devices."""
        key = leaf.leaf.key
        column = self._columns[key]
        distinct = self._distinct.get(key) or Distinct(column.values)
        self._distinct[key] = distinct
        outcomes, ends = decide_values(leaf, distinct, self._now)
        until = ends[column.codes] if leaf.row.timely else None
        return Decided(outcomes[column.codes], leaf=leaf, column=column, until=until)


def decide_values(
    leaf: CompiledLeaf, distinct: Distinct, now: datetime, *, few: int = FEW_VALUES
) -> tuple[Codes, Moments]:
    """Outcomes of distinct values, and their ends; at most `few` values are decided one by one."""
    values = distinct.values
    outcomes = np.zeros(len(values), dtype=np.int8)
    ends = np.full(len(values), NEVER, dtype=np.int64)
    rest: Iterable[int] = range(len(values))
    if len(values) > few:
        rest = _decide_easy(leaf, distinct, now, (outcomes, ends))
    for place in rest:
        decision = decide_value(leaf, values[place], now)
        outcomes[place], ends[place] = decision.outcome, encode_end(decision.until)
    return outcomes, ends


def _decide_easy(
    leaf: CompiledLeaf, distinct: Distinct, now: datetime, told: tuple[Codes, Moments]
) -> Sequence[int]:
    """Decide at once all values that the operator can take so; gives the places that are left."""
    outcomes, ends = told
    presence, comparison = leaf.row.presence, leaf.comparison
    if presence is not None:
        outcomes[:] = _TRUE if presence else _FALSE
        return distinct.easy(_SIMPLE)[0]
    if comparison.answer_all is None:
        return range(len(outcomes))
    odd, easy = distinct.easy(comparison.easy)
    if not easy:
        return range(len(outcomes))
    answers = comparison.answer_all(easy, now)
    outcomes[:] = np.where(answers.held, _TRUE, _FALSE)
    if answers.ends is not None:
        ends[:] = answers.ends
    if answers.sure is not None and not answers.sure.all():
        odd = sorted({*odd, *np.flatnonzero(~answers.sure).tolist()})
    return odd


def decide_value(leaf: CompiledLeaf, value: Any, now: datetime) -> Decision:
    """What the leaf says of one value of its column; with `[*]` it must hold for every element."""
    if not isinstance(value, Elements):
        return decide_element(leaf, value, now)
    decisions = [decide_element(leaf, found, now) for _, found in value.items]
    worst = min(decisions, key=lambda each: each.outcome)
    ends = [each.until for each in decisions if each.until is not None]
    return Decision(worst.outcome, worst.reason, min(ends, default=None))


def decide_element(leaf: CompiledLeaf, value: Any, now: datetime) -> Decision:
    """What the leaf says of one value, or of one element under `[*]`."""
    if isinstance(value, Absent):
        return _decide_absent(leaf, value)
    if leaf.row.presence is not None:
        return _presence(leaf.row.presence)
    try:
        held, until = leaf.comparison.answer(value, now)
    except FactFault as fault:
        return Decision(Outcome.ERROR, fault.reason, fault.until)
    return Decision(Outcome.TRUE if held else Outcome.FALSE, "" if held else "mismatch", until)


def _decide_absent(leaf: CompiledLeaf, value: Absent) -> Decision:
    if value.wrong:
        return Decision(Outcome.ERROR, value.reason)
    if leaf.row.presence is not None:
        return _presence(not leaf.row.presence, value.reason)
    return Decision(leaf.missing, value.reason)


def _presence(held: bool, reason: str = "present") -> Decision:  # noqa: FBT001 - it is the answer
    return Decision(Outcome.TRUE if held else Outcome.FALSE, "" if held else reason)
