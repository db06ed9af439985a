"""The verdicts of a batch, kept as columns and read as a sequence, by device, then policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.operators.times import Moments, decode_end
from fleetmdm.evaluate.outcome import STATUS, Codes
from fleetmdm.results import Finding, Status, Verdict

NOT_SELECTED: Final = len(STATUS)
"""The code of a policy that is not enabled, or not assigned to the device."""
NOT_CHECKED: Final = NOT_SELECTED + 1
"""The code of a policy that only a person can answer."""

STATES: Final = (*STATUS, Status.NOT_SELECTED, Status.NOT_CHECKED)
"""By code."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Found(Generic[_T]):
    """The findings of the devices that did not pass; those that look alike share one group."""

    places: npt.NDArray[np.intp]
    """Of the devices in the batch, ascending."""
    groups: npt.NDArray[np.int32]
    """For each of them, which of `findings` are its own."""
    findings: Sequence[_T]

    def at(self, place: int) -> _T | None:
        """The findings of one device; None where it passed."""
        index = int(np.searchsorted(self.places, place))
        if index == len(self.places) or self.places[index] != place:
            return None
        return self.findings[int(self.groups[index])]


def nothing_found() -> Found[Any]:
    """Where all passed."""
    return Found(np.zeros(0, np.intp), np.zeros(0, np.int32), ())


class Search:
    """The findings of one policy on a batch, made when they are first asked for.

    Who can tell that they are as before need not ask, and who keeps them takes them written.
    """

    def __init__(
        self,
        make: Callable[[], Found[tuple[Finding, ...]]],
        write: Callable[[], Found[bytes]],
    ) -> None:
        self._make = make
        self._found: Found[tuple[Finding, ...]] | None = None
        self.written = write
        """The findings as `finding_json.join_findings` writes them."""

    def found(self) -> Found[tuple[Finding, ...]]:
        """The findings."""
        if self._found is None:
            self._found = self._make()
        return self._found


NOTHING_SOUGHT: Final = Search(nothing_found, nothing_found)


@dataclass(frozen=True, slots=True)
class PolicyColumn:
    """One policy's verdicts on a batch."""

    policy_id: str
    outcomes: Codes
    until: Moments | None = None
    search: Search = NOTHING_SOUGHT

    @property
    def found(self) -> Found[tuple[Finding, ...]]:
        """The findings of the devices that did not pass."""
        return self.search.found()

    def counts(self) -> dict[Status, int]:
        """How many devices have each state."""
        counts = np.bincount(self.outcomes, minlength=len(STATES)).tolist()
        return {state: count for state, count in zip(STATES, counts, strict=True) if count}

    def verdict(self, place: int, device_id: str) -> Verdict:
        """One verdict."""
        return Verdict(
            device_id,
            self.policy_id,
            STATES[self.outcomes[place]],
            self.found.at(place) or (),
            None if self.until is None else decode_end(int(self.until[place])),
        )


@dataclass(frozen=True, slots=True)
class VerdictBatch(Sequence[Verdict]):
    """Every verdict of a batch: `columns` in the order of the policies' ids."""

    device_ids: Sequence[str]
    columns: Sequence[PolicyColumn]
    time_told: bytes = b""
    """What the moment of the check decided: equal documents under equal policies have equal states
    and findings where this is equal."""

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
        for device_id, codes in self.state_codes():
            yield device_id, [STATES[code] for code in codes]

    def state_codes(self) -> Iterator[tuple[str, bytes]]:
        """(device id, a byte for each policy: the place of its state in `STATES`)."""
        if not self.columns:
            yield from ((device_id, b"") for device_id in self.device_ids)
            return
        table = np.stack([column.outcomes for column in self.columns], axis=1).astype(np.uint8)
        rows, width = table.tobytes(), len(self.columns)
        for place, device_id in enumerate(self.device_ids):
            yield device_id, rows[place * width : (place + 1) * width]
