"""What is said of a device that a policy did not pass: one finding for each leaf that spoke.

A leaf is named where its outcome, seen through the negations above it, kept the policy from
passing: false, error or unknown; or true below `not` and `none`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.fact_path import Absent, Elements, render_path
from fleetmdm.evaluate.leaves import Decided, decide_element
from fleetmdm.evaluate.outcome import Outcome
from fleetmdm.evaluate.program import NEGATING, CompiledLeaf
from fleetmdm.policy import Combine
from fleetmdm.results import Finding

# An attribute of an enumeration costs more than the comparison around it.
_FALSE, _TRUE = int(Outcome.FALSE), int(Outcome.TRUE)

LOUD: Final = np.array(
    [[one not in (good, Outcome.NOT_APPLICABLE) for one in Outcome] for good in (_TRUE, _FALSE)]
)
"""By whether a check is negated, then by outcome: whether there is anything to say of it."""

Places = npt.NDArray[np.intp]

MAX_TEXT_CHARACTERS = 1024
"""Of one observed text; a longer one is cut, and ends with an ellipsis."""


MAX_KEPT: Final = 16_384
"""Findings that are kept to be given again."""
FEW_VALUES: Final = 256
"""Of columns with more values, hardly any comes again."""
_KEPT_KINDS: Final = frozenset({str, int, float, bool, Absent})


class Finder:
    """Finds what is said at one moment; what many devices share is made once.

    It knows leaves by identity, so that it must not outlive the programs that it is used with.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._kept: dict[tuple[int, type, Any], Finding] = {}

    def find_all(self, tree: Decided, places: Places) -> list[tuple[Finding, ...]]:
        """The findings of each device at some places, in the order of the policy."""
        found: list[list[Finding]] = [[] for _ in range(len(places))]
        self._find(tree, places, found)
        return list(map(tuple, found))

    def _find(
        self,
        node: Decided,
        places: Places,
        found: Sequence[list[Finding]],
        *,
        negated: bool = False,
    ) -> None:
        """What is said below a node; `found` has the list of each place."""
        outcomes = node.outcomes[places]
        spoke = np.flatnonzero(LOUD[int(negated)][outcomes])
        if len(spoke) < len(places):
            places, found = places[spoke], [found[one] for one in spoke.tolist()]
        if not found:
            return
        if node.leaf is not None:
            self._find_leaf(node, places, found, negated=negated)
        elif node.combine is Combine.WHEN:
            condition, check = node.members
            self._find(condition, places, found)
            held = np.flatnonzero(condition.outcomes[places] == _TRUE)
            self._find(check, places[held], [found[one] for one in held.tolist()], negated=negated)
        else:
            below = negated ^ (node.combine in NEGATING)
            for member in node.members:
                self._find(member, places, found, negated=below)

    def _find_leaf(
        self, node: Decided, places: Places, found: Sequence[list[Finding]], *, negated: bool
    ) -> None:
        leaf, column = node.leaf, node.column
        assert leaf is not None  # noqa: S101 - the caller asked
        assert column is not None  # noqa: S101 - a leaf has one
        few, codes = len(column.values) <= FEW_VALUES, column.codes[places].tolist()
        for said, code, outcome in zip(found, codes, node.outcomes[places].tolist(), strict=True):
            value = column.values[code]
            # A leaf stands on one side of the negations, so that `negated` need not be in the key.
            key = (id(leaf), type(value), value) if few and type(value) in _KEPT_KINDS else None
            one = self._kept.get(key) if key else None
            if one is None:
                one = make_finding(leaf, value, self._now, outcome=outcome, negated=negated)
                if key:
                    self._keep(key, one)
            said.append(one)

    def _keep(self, key: tuple[int, type, Any], finding: Finding) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = finding


def make_finding(
    leaf: CompiledLeaf, value: Any, now: datetime, *, outcome: int, negated: bool
) -> Finding:
    """The finding of one leaf, by what it is. `negated`: where it held, it should not have."""
    key, observed, others = leaf.leaf.key, value, ""
    if isinstance(value, Elements):
        wrong = _offenders(leaf, value, now)
        where, observed = wrong[0]
        key = render_path(where)
        others = f" ({len(wrong)} of {len(value.items)} elements)" if len(value.items) > 1 else ""
    return Finding(
        check=leaf.leaf.path,
        key=key,
        op=leaf.leaf.op,
        expected=leaf.leaf.value,
        observed=None if isinstance(observed, Absent) else _bounded(observed),
        reason=_reason(leaf, observed, now, outcome) or "unwanted",
        message=(leaf.leaf.message or _sentence(leaf, key, negated=negated)) + others,
    )


def _reason(leaf: CompiledLeaf, observed: Any, now: datetime, outcome: int) -> str:
    """Why the leaf is what it is, of the value or the worst element; nothing where it holds."""
    plain = leaf.row.presence is None and not isinstance(observed, Absent)
    if plain and outcome in (_FALSE, _TRUE):
        # A value that could be compared: deciding it again would say no more.
        return "mismatch" if outcome == _FALSE else ""
    return decide_element(leaf, observed, now).reason


def _offenders(leaf: CompiledLeaf, value: Elements, now: datetime) -> list[Any]:
    """The elements that made the leaf what it is: the least of them all."""
    decided = [(item, decide_element(leaf, item[1], now).outcome) for item in value.items]
    worst = min(outcome for _, outcome in decided)
    return [item for item, outcome in decided if outcome is worst]


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return value[: MAX_TEXT_CHARACTERS - 1] + "…"
    return value


def _sentence(leaf: CompiledLeaf, key: str, *, negated: bool) -> str:
    wish = "must not hold" if negated else "must hold"
    operand = "" if leaf.leaf.value is None else f" {write_operand(leaf.leaf.value)}"
    return f"{wish}: {key} {leaf.leaf.op}{operand}"


def write_operand(value: Any) -> str:
    """An operand for people, as YAML would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_operand, value)) + "]"
    return str(value)
