"""What is said of a device that a policy did not pass: one finding for each leaf that spoke.

A leaf is named where its outcome, seen through the negations above it, kept the policy from
passing: false, error or unknown; or true below `not` and `none`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.fact_path import Absent, Elements, render_path
from fleetmdm.evaluate.leaves import Decided, decide_element
from fleetmdm.evaluate.outcome import Outcome
from fleetmdm.evaluate.program import NEGATING, CompiledLeaf
from fleetmdm.finding_json import encode_value, join_findings
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
"""Of columns with more values, hardly any comes again, but that there is none."""
_KEPT_KINDS: Final = frozenset({str, int, float, bool, Absent})
_ABSENT: Final = frozenset({Absent})
_FRAMED_KINDS: Final = _KEPT_KINDS - _ABSENT
_HOLE: Final = "observed, to be told from all that people write: \ue000"

_T = TypeVar("_T")
_Frame = tuple[bytes, bytes]


class Finder:
    """Finds what is said at one moment; what many devices share is made once.

    It knows leaves by identity, so that it must not outlive the programs that it is used with.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._made = _Teller(self._make)
        self._written = _Teller(self._write)
        self._frames: dict[tuple[int, int], _Frame | None] = {}

    def find_all(self, tree: Decided, places: Places) -> list[tuple[Finding, ...]]:
        """The findings of each device at some places, in the order of the policy."""
        return list(map(tuple, self._made.tell(tree, places)))

    def write_all(self, tree: Decided, places: Places) -> list[bytes]:
        """The same as `finding_json.join_findings` writes each."""
        return list(map(join_findings, self._written.tell(tree, places)))

    def _make(self, leaf: CompiledLeaf, value: Any, outcome: int) -> Finding:
        return make_finding(leaf, value, self._now, outcome=outcome)

    def _write(self, leaf: CompiledLeaf, value: Any, outcome: int) -> bytes:
        if type(value) in _FRAMED_KINDS and outcome in (_FALSE, _TRUE):
            key = (id(leaf), outcome)
            if key not in self._frames:
                self._frames[key] = self._frame(leaf, outcome)
            frame = self._frames[key]
            if frame is not None:
                return frame[0] + encode_value(_bounded(value)) + frame[1]
        return encode_value(self._make(leaf, value, outcome))

    def _frame(self, leaf: CompiledLeaf, outcome: int) -> _Frame | None:
        """What is written before and after an observed value, where nothing else depends on it."""
        if leaf.row.presence is not None:
            return None
        before, *after = encode_value(self._make(leaf, _HOLE, outcome)).split(encode_value(_HOLE))
        return (before, after[0]) if len(after) == 1 else None


_Tell = Callable[[CompiledLeaf, Any, int], _T]


class _Teller(Generic[_T]):
    """Tells each device at some places what its leaves say, in one form; remembers what was told."""

    def __init__(self, say: _Tell[_T]) -> None:
        self._say = say
        self._kept: dict[tuple[int, type, Any], _T] = {}

    def tell(self, tree: Decided, places: Places) -> list[list[_T]]:
        """A list for each device, in the order of the policy."""
        found: list[list[_T]] = [[] for _ in range(len(places))]
        self._find(tree, places, found)
        return found

    def _find(
        self,
        node: Decided,
        places: Places,
        found: Sequence[list[_T]],
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
            self._find_leaf(node, places, found)
        elif node.combine is Combine.WHEN:
            condition, check = node.members
            self._find(condition, places, found)
            held = np.flatnonzero(condition.outcomes[places] == _TRUE)
            self._find(check, places[held], [found[one] for one in held.tolist()], negated=negated)
        else:
            below = negated ^ (node.combine in NEGATING)
            for member in node.members:
                self._find(member, places, found, negated=below)

    def _find_leaf(self, node: Decided, places: Places, found: Sequence[list[_T]]) -> None:
        leaf, column = node.leaf, node.column
        assert leaf is not None  # noqa: S101 - the caller asked
        assert column is not None  # noqa: S101 - a leaf has one
        few, codes = len(column.values) <= FEW_VALUES, column.codes[places].tolist()
        for said, code, outcome in zip(found, codes, node.outcomes[places].tolist(), strict=True):
            value = column.values[code]
            kind = type(value)
            key = (id(leaf), kind, value) if kind in (_KEPT_KINDS if few else _ABSENT) else None
            one = self._kept.get(key) if key else None
            if one is None:
                one = self._say(leaf, value, outcome)
                if key:
                    self._keep(key, one)
            said.append(one)

    def _keep(self, key: tuple[int, type, Any], told: _T) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = told


def make_finding(leaf: CompiledLeaf, value: Any, now: datetime, *, outcome: int) -> Finding:
    """The finding of one leaf, by what it is."""
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
        message=(leaf.leaf.message or _sentence(leaf, key)) + others,
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


def _sentence(leaf: CompiledLeaf, key: str) -> str:
    wish = "must not hold" if leaf.negated else "must hold"
    operand = "" if leaf.leaf.value is None else f" {write_operand(leaf.leaf.value)}"
    return f"{wish}: {key} {leaf.leaf.op}{operand}"


def write_operand(value: Any) -> str:
    """An operand for people, as YAML would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_operand, value)) + "]"
    return str(value)
