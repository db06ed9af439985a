"""What came of the signatures of each store, and how long they took: series beside the other counts.

A store's durations are counted in the bounds that are published, for there may be many stores and a
cell each is all that they get. Rule for editors: this runs once a batch of signatures.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from secretivex.metrics.cells import Meter, Totals
from secretivex.metrics.table import BOUNDS_NS

REQUESTS, DURATIONS = "store_requests", "store_sign"
_SUM = "sum"
_TOPS_NS = (*BOUNDS_NS, inf)


class StoreMeter:
    """Counts for one process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._places: dict[tuple[str, object], int] = {}

    def note(self, store: str, failure: str) -> None:
        """A signature failed; how long that took tells nothing of others."""
        self._add(REQUESTS, store, failure, 1)

    def note_made(self, store: str, durations_ns: Collection[int]) -> None:
        """Signatures were made, each in so long; those of a batch fall within a bound or two."""
        self._add(REQUESTS, store, "ok", len(durations_ns))
        ordered = sorted(durations_ns)
        start = 0
        while start < len(ordered):
            bound = bisect_left(BOUNDS_NS, ordered[start])
            end = bisect_right(ordered, _TOPS_NS[bound], start)
            self._add(DURATIONS, store, bound, end - start)
            start = end
        self._add(DURATIONS, store, _SUM, sum(ordered[bisect_left(ordered, 0) :]))

    def _add(self, name: str, store: str, last: object, amount: int) -> None:
        place = self._places.get((store, last))
        if place is None:
            place = self._places[store, last] = self._meter.place(name, f"{store}/{last}")
        self._meter.add(place, amount)


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """One store: requests by outcome, durations by the bounds of the table, their sum."""

    outcomes: dict[str, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_NS) + 1))
    sum_ns: int = 0


def read_stores(totals: Totals) -> dict[str, StoreFigures]:
    """Every store that was asked for a signature, by name."""
    found: dict[str, StoreFigures] = {}
    for label, count in totals.labels(REQUESTS):
        store, _, outcome = label.rpartition("/")
        found.setdefault(store, StoreFigures()).outcomes[outcome] = count
    for label, count in totals.labels(DURATIONS):
        store, _, last = label.rpartition("/")
        figures = found.setdefault(store, StoreFigures())
        if last == _SUM:
            found[store] = StoreFigures(figures.outcomes, figures.counts, count)
        elif last.isdecimal():
            figures.counts[int(last)] = count
    return found
