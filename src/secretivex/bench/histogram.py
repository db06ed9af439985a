"""Counts of latencies with a bounded relative error, whatever their number: as HdrHistogram does.

A slot is a power of two cut into 1024 equal steps, so a value is off by less than 0.1 % (and exact
below 1024 ns). Rule for editors: every sample is counted; nothing here draws a sample of samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

SUB_BITS: Final = 10
RELATIVE_ERROR: Final = 2.0**-SUB_BITS


def slot_of(ns: int) -> int:
    """The slot that counts a latency."""
    shift = ns.bit_length() - SUB_BITS - 1
    if shift < 0:
        return ns
    return ((shift + 1) << SUB_BITS) + ((ns >> shift) & ((1 << SUB_BITS) - 1))


def top_of(slot: int) -> int:
    """The largest latency that a slot counts."""
    block, step = slot >> SUB_BITS, slot & ((1 << SUB_BITS) - 1)
    if block == 0:
        return step
    return (((1 << SUB_BITS) + step + 1) << (block - 1)) - 1


class Histogram:
    """Latencies in nanoseconds."""

    __slots__ = ("counts", "max_ns", "min_ns", "sum_ns", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0
        self.sum_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def record(self, ns: int) -> None:
        """Count one latency."""
        slot = slot_of(ns)
        self.counts[slot] = self.counts.get(slot, 0) + 1
        if not self.total or ns < self.min_ns:
            self.min_ns = ns
        self.max_ns = max(self.max_ns, ns)
        self.total += 1
        self.sum_ns += ns

    def add(self, other: Histogram) -> None:
        """Count what another one counted too."""
        if not other.total:
            return
        for slot, count in other.counts.items():
            self.counts[slot] = self.counts.get(slot, 0) + count
        self.min_ns = min(self.min_ns, other.min_ns) if self.total else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.total += other.total
        self.sum_ns += other.sum_ns

    @property
    def mean_ns(self) -> float:
        """The exact mean; 0 without samples."""
        return self.sum_ns / self.total if self.total else 0.0

    def percentile(self, percent: float) -> int:
        """The latency that `percent` of all samples do not exceed; 0 without samples."""
        rank = max(1, math.ceil(percent / 100 * self.total))
        seen = 0
        for slot in sorted(self.counts):
            seen += self.counts[slot]
            if seen >= rank:
                return min(top_of(slot), self.max_ns)
        return 0

    def cumulative(self) -> Iterable[tuple[int, float]]:
        """Latencies in order, with the share of samples up to each."""
        seen = 0
        for slot in sorted(self.counts):
            seen += self.counts[slot]
            yield min(top_of(slot), self.max_ns), seen / self.total


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    whole = Histogram()
    for one in histograms:
        whole.add(one)
    return whole
