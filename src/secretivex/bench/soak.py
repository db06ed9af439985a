"""A long load that looks for what only time shows: leaks, and latency that drifts.

Memory and descriptors of every agent process are sampled while the load runs. Rule for editors: the
first part of a run is settling in and never judged; a rise counts only when 95 % confidence excludes
a flat line and the rise itself is larger than what allocators and clients explain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from secretivex.bench.run import Outcome
from secretivex.bench.statistics import Trend, trend_of

SETTLING: Final = 0.3
"""Share of a run that is not judged: caches fill, allocators take their pools."""

MAX_RSS_RISE: Final = 0.10
"""Of the level after settling in."""
MIN_RSS_RISE_BYTES: Final = 4 * 1024 * 1024
MAX_FDS_RISE: Final = 16
"""Descriptors beside one for each client of the load: how many of those are open at a time depends on
how busy the machine is, and that may well rise while it is looked at."""
MAX_LATENCY_RISE: Final = 0.5
"""Of the median p95 of the slices."""
MIN_POINTS: Final = 5


@dataclass(frozen=True, slots=True)
class Vitals:
    """One agent process at one moment."""

    pid: int
    rss_bytes: int
    open_fds: int


Probe = Callable[[], Sequence[Vitals]]


@dataclass(frozen=True, slots=True)
class VitalSign:
    """A series of one process, or of the load, and what became of it."""

    name: str
    pid: int
    first: float
    last: float
    trend: Trend | None
    reason: str = ""
    """Why it fails; empty if it does not."""


class Watcher:
    """Samples the agent from within the load's own ticks, so that nothing needs a thread."""

    def __init__(self, probe: Probe, clock: Callable[[], float], *, every_s: float) -> None:
        self._probe = probe
        self._clock = clock
        self._every_s = every_s
        self._begun = self._due = clock()
        self.points: list[tuple[float, Sequence[Vitals]]] = []

    def tick(self) -> None:
        """Take a sample if one is due."""
        now = self._clock()
        if now >= self._due:
            self._due = now + self._every_s
            self.points.append((now - self._begun, tuple(self._probe())))


def judge_vitals(
    points: Sequence[tuple[float, Sequence[Vitals]]], *, clients: int
) -> list[VitalSign]:
    """Memory and descriptors of every process that was there for long enough."""
    settled = points[int(len(points) * SETTLING) :]
    pids = sorted({one.pid for _, vitals in settled for one in vitals})
    signs = []
    for pid in pids:
        rss = [(t, float(v.rss_bytes)) for t, vitals in settled for v in vitals if v.pid == pid]
        fds = [(t, float(v.open_fds)) for t, vitals in settled for v in vitals if v.pid == pid]
        limit = max(MIN_RSS_RISE_BYTES, MAX_RSS_RISE * rss[0][1])
        signs.append(_judge("rss_bytes", pid, rss, limit))
        signs.append(_judge("open_fds", pid, fds, MAX_FDS_RISE + clients))
    return signs


def judge_latency(outcome: Outcome) -> VitalSign:
    """Whether the p95 of the slices rises."""
    slices = [one for index, one in sorted(outcome.tally.slices.items()) if one.latency.total]
    points = [
        (number * outcome.scenario.interval_s, one.latency.percentile(95) / 1e6)
        for number, one in enumerate(slices)
    ]
    settled = points[int(len(points) * SETTLING) :]
    level = sorted(value for _, value in settled)[len(settled) // 2] if settled else 0.0
    return _judge("p95_ms", 0, settled, MAX_LATENCY_RISE * level)


def _judge(name: str, pid: int, points: Sequence[tuple[float, float]], limit: float) -> VitalSign:
    if len(points) < MIN_POINTS:
        first, last = (points[0][1], points[-1][1]) if points else (0.0, 0.0)
        reason = f"only {len(points)} samples after settling in: run for longer"
        return VitalSign(name, pid, first, last, None, reason)
    trend = trend_of(points)
    reason = ""
    if trend is not None and trend.low_per_hour > 0 and trend.rise > limit:
        reason = f"rises by {trend.rise:.4g} over the run ({trend.per_hour:.4g} an hour)"
    return VitalSign(name, pid, points[0][1], points[-1][1], trend, reason)
