"""What came of the signatures of each store, and how long they took: series beside the other counts.

A store's durations are counted in the bounds that are published, for there may be many stores and a
cell each is all that they get. Rule for editors: this runs once a signature.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from secretivex.metrics.cells import Meter, Totals
from secretivex.metrics.table import BOUNDS_NS

REQUESTS, DURATIONS = "store_requests", "store_sign"
_SUM = "sum"


class StoreMeter:
    """Counts for one process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._places: dict[tuple[str, object], int] = {}

    def note(self, store: str, failure: str, duration_ns: int) -> None:
        """A signature was made, or failed for a reason; a failure's time tells nothing of others."""
        self._add(REQUESTS, store, failure or "ok", 1)
        if not failure:
            self._add(DURATIONS, store, bisect_left(BOUNDS_NS, duration_ns), 1)
            self._add(DURATIONS, store, _SUM, max(0, duration_ns))

    def note_all(self, ended: Iterable[tuple[str, bytes | str, float]]) -> None:
        """Those of one batch: store, signature or the word for why there is none, seconds."""
        made: dict[str, list[int]] = {}
        for store, outcome, span_s in ended:
            if isinstance(outcome, str):
                self.note(store, outcome, 0)
            else:
                made.setdefault(store, []).append(max(0, int(span_s * 1e9)))
        for store, spans_ns in made.items():
            self._add(REQUESTS, store, "ok", len(spans_ns))
            for bound, count in Counter(bisect_left(BOUNDS_NS, ns) for ns in spans_ns).items():
                self._add(DURATIONS, store, bound, count)
            self._add(DURATIONS, store, _SUM, sum(spans_ns))

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
