"""The verdicts of a batch, kept as columns and read as a sequence, by device, then policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

import numpy as np

from fleetmdm.evaluate.leaves import Moments, decode_end
from fleetmdm.evaluate.outcome import STATUS, Codes
from fleetmdm.results import Finding, Status, Verdict

NOT_SELECTED: Final = len(STATUS)
"""The code of a policy that is not enabled."""

_STATES: Final = (*STATUS, Status.NOT_SELECTED)


@dataclass(frozen=True, slots=True)
class PolicyColumn:
    """One policy's verdicts on a batch; findings by the place of the device."""

    policy_id: str
    outcomes: Codes
    until: Moments | None = None
    findings: Mapping[int, tuple[Finding, ...]] = field(default_factory=dict)

    def counts(self) -> dict[Status, int]:
        """How many devices have each state."""
        counts = np.bincount(self.outcomes, minlength=len(_STATES)).tolist()
        return {state: count for state, count in zip(_STATES, counts, strict=True) if count}

    def verdict(self, place: int, device_id: str) -> Verdict:
        """One verdict."""
        return Verdict(
            device_id,
            self.policy_id,
            _STATES[self.outcomes[place]],
            self.findings.get(place, ()),
            None if self.until is None else decode_end(int(self.until[place])),
        )


@dataclass(frozen=True, slots=True)
class VerdictBatch(Sequence[Verdict]):
    """Every verdict of a batch: `columns` in the order of the policies' ids."""

    device_ids: Sequence[str]
    columns: Sequence[PolicyColumn]

    def __len__(self) -> int:
        return len(self.device_ids) * len(self.columns)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Verdict]: ...

    def __getitem__(self, index: int | slice) -> Verdict | Sequence[Verdict]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place, column = divmod(index % len(self), len(self.columns))
        return self.columns[column].verdict(place, self.device_ids[place])

    def __iter__(self) -> Iterator[Verdict]:
        for place, device_id in enumerate(self.device_ids):
            for column in self.columns:
                yield column.verdict(place, device_id)

    def states(self) -> Iterator[tuple[str, list[Status]]]:
        """(device id, its state under each policy) for every device."""
        rows = np.array([column.outcomes for column in self.columns], dtype=np.int8).T.tolist()
        for device_id, row in zip(self.device_ids, rows, strict=True):
            yield device_id, [_STATES[code] for code in row]
