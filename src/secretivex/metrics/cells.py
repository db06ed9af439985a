"""Figures of every process in one piece of shared memory, summed when they are read.

Each process writes its own part only, so no lock is needed; a part outlives its process, and the
one that takes its place counts on. Rule for editors: made before the first fork; a cell is aligned
and eight bytes wide, so it is never seen half-written; a name is written before its cell counts.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from secretivex.metrics.buckets import BUCKETS, bounds_of, bucket_of

HISTOGRAMS = ("queue_wait", "sign")
"""Durations that are kept in buckets, in ns."""

MAX_SERIES = 1024
"""Names that one process may count under; what comes later counts under `OVERFLOW`."""

_MOST_OF = {"policy_decisions": MAX_SERIES // 2}
"""Rules may be ten thousand: what else is counted must find room beside them."""

OVERFLOW = ("series_overflow", "")
"""What tells that the names did not suffice."""

MAXIMA = frozenset({"connections_most"})
"""What every process saw for itself of the whole: the greatest counts, not the sum."""

_NAME_BYTES = 120
_CELL_BYTES = 8
_SUM, _MAX, _FIRST_BUCKET = 0, 1, 2
_HISTOGRAM_CELLS = BUCKETS + _FIRST_BUCKET
_SERIES_AT = _HISTOGRAM_CELLS * len(HISTOGRAMS)
_PART_CELLS = _SERIES_AT + MAX_SERIES

Series = tuple[str, str]
"""A metric's name and its label's value, "" for none."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations in ns: how many fell into each bucket, their sum and the longest."""

    counts: Sequence[int] = (0,) * BUCKETS
    sum_ns: int = 0
    max_ns: int = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Histogram(counts, self.sum_ns + other.sum_ns, max(self.max_ns, other.max_ns))

    def since(self, earlier: Histogram) -> Histogram:
        """What came after `earlier`; the longest is of all time, for no bucket tells it."""
        counts = tuple(
            now - before for now, before in zip(self.counts, earlier.counts, strict=True)
        )
        return Histogram(counts, self.sum_ns - earlier.sum_ns, self.max_ns)


@dataclass(frozen=True, slots=True)
class Part:
    """What one process wrote."""

    series: dict[Series, int]
    histograms: dict[str, Histogram]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all processes, and each process by itself."""

    series: dict[Series, int] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: dict.fromkeys(HISTOGRAMS, Histogram())
    )
    parts: tuple[Part, ...] = ()

    def value(self, name: str, label: str = "") -> int:
        """One figure; 0 if nobody counted under it."""
        return self.series.get((name, label), 0)

    def labels(self, name: str) -> Iterator[tuple[str, int]]:
        """Every label of a metric, sorted, with its figure."""
        return iter(
            sorted((label, n) for (metric, label), n in self.series.items() if metric == name)
        )


class Cells:
    """The memory of all processes of an agent."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._cells = memoryview(mmap.mmap(-1, processes * _PART_CELLS * _CELL_BYTES)).cast("Q")
        self._names = mmap.mmap(-1, processes * MAX_SERIES * _NAME_BYTES)

    def meter(self, process: int) -> Meter:
        """The hand of one process on its part; it goes on where the one before it ended."""
        cells = self._cells[process * _PART_CELLS : (process + 1) * _PART_CELLS]
        return Meter(cells, self._names, process * MAX_SERIES * _NAME_BYTES)

    def totals(self) -> Totals:
        """Everything as it is now."""
        parts = tuple(self.meter(process).read() for process in range(self._processes))
        series: dict[Series, int] = {}
        for part in parts:
            for key, value in part.series.items():
                before = series.get(key, 0)
                series[key] = max(before, value) if key[0] in MAXIMA else before + value
        histograms: dict[str, Histogram] = {}
        for name in HISTOGRAMS:
            total = Histogram()
            for part in parts:
                total = total.plus(part.histograms[name])
            histograms[name] = total
        return Totals(series, histograms, parts)


class Meter:
    """Counts for one process; two hands on one part at a time would lose counts."""

    def __init__(self, cells: memoryview, names: mmap.mmap, names_at: int) -> None:
        self._cells = cells
        self._names = names
        self._names_at = names_at
        self._places: dict[Series, int] = {}
        for place, series in self._read_names():
            self._places[series] = place

    def _read_names(self) -> Iterator[tuple[int, Series]]:
        for index in range(MAX_SERIES):
            at = self._names_at + index * _NAME_BYTES
            text = self._names[at : at + _NAME_BYTES].rstrip(b"\0")
            if not text:
                return
            name, _, label = text.decode(errors="replace").partition(" ")
            yield _SERIES_AT + index, (name, label)

    def place(self, name: str, label: str = "") -> int:
        """The cell of a series, made when it is first asked for; for `add` and `put`."""
        series = name, label
        place = self._places.get(series)
        return self._make(series) if place is None else place

    def _make(self, series: Series) -> int:
        index = len(self._places)
        most = _MOST_OF.get(series[0], MAX_SERIES - 1)
        if index >= most and series != OVERFLOW:
            return self.place(*OVERFLOW)
        text = f"{series[0]} {series[1]}".encode(errors="replace")[:_NAME_BYTES]
        kept = text.decode(errors="ignore").partition(" ")
        if (kept[0], kept[2]) != series:
            # A name that is too long shares the cell of what is left of it.
            return self.place(kept[0], kept[2])
        at = self._names_at + index * _NAME_BYTES
        self._names[at : at + len(text)] = text
        place = self._places[series] = _SERIES_AT + index
        return place

    def add(self, place: int, amount: int = 1) -> None:
        """Count up a cell."""
        self._cells[place] += amount

    def put(self, place: int, value: int) -> None:
        """Set a cell to what it is now."""
        self._cells[place] = value

    def get(self, place: int) -> int:
        """What a cell holds."""
        return self._cells[place]

    def count(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count up a series by its name."""
        self._cells[self.place(name, label)] += amount

    def observe(self, histogram: int, duration_ns: int) -> None:
        """Count a duration; `histogram` is its index in `HISTOGRAMS`."""
        cells, at = self._cells, histogram * _HISTOGRAM_CELLS
        cells[at + _FIRST_BUCKET + bucket_of(duration_ns)] += 1
        if duration_ns > 0:
            cells[at] += duration_ns
            cells[at + _MAX] = max(cells[at + _MAX], duration_ns)

    def observe_all(self, histogram: int, durations_ns: Iterable[int]) -> None:
        """Count many durations in one go: those of a batch fall into a few buckets."""
        cells, at = self._cells, histogram * _HISTOGRAM_CELLS
        ordered = sorted(durations_ns)
        start = 0
        while start < len(ordered):
            bucket = bucket_of(ordered[start])
            end = max(start + 1, bisect_right(ordered, bounds_of(bucket)[1], start))
            cells[at + _FIRST_BUCKET + bucket] += end - start
            start = end
        if ordered and ordered[-1] > 0:
            cells[at] += sum(ordered[bisect_right(ordered, 0) :])
            cells[at + _MAX] = max(cells[at + _MAX], ordered[-1])

    def clear(self, *names: str) -> None:
        """Set every series of these names to 0: what a process that ended was doing, it does not."""
        for (name, _), place in self._places.items():
            if name in names:
                self._cells[place] = 0

    def read(self) -> Part:
        """What stands in the part."""
        cells = self._cells
        series = {series: cells[place] for place, series in self._read_names()}
        histograms = {}
        for index, name in enumerate(HISTOGRAMS):
            at = index * _HISTOGRAM_CELLS
            counts = tuple(cells[at + _FIRST_BUCKET : at + _HISTOGRAM_CELLS])
            histograms[name] = Histogram(counts, cells[at + _SUM], cells[at + _MAX])
        return Part(series, histograms)
