"""Ratios with confidence intervals, and trends: what a few noisy figures allow to say.

Pure arithmetic; sources are named where a constant comes from one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t for two-sided 95 %, by degrees of freedom from 1 (Fisher and Yates, table III)."""

_NORMAL_95 = 1.960


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with the interval that holds it with 95 % confidence; None with a single pair."""

    value: float
    low: float | None
    high: float | None


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """The geometric mean of the pairs' ratios, A to B; None where a figure is not positive.

    Ratios multiply, so their logarithms are what scatters evenly: the interval is Student's on them.
    """
    if not pairs or any(a <= 0 or b <= 0 for a, b in pairs):
        return None
    logs = [math.log(a / b) for a, b in pairs]
    mean = statistics.fmean(logs)
    if len(logs) == 1:
        return Ratio(math.exp(mean), None, None)
    half = student(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def student(freedom: int) -> float:
    """Student's t for two-sided 95 %."""
    return _T_95[freedom - 1] if freedom <= len(_T_95) else _NORMAL_95


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through figures over time."""

    per_hour: float
    """Slope: units an hour."""
    low_per_hour: float
    """The least slope that 95 % confidence allows."""
    rise: float
    """What the line rises from its begin to its end."""


def trend_of(points: Sequence[tuple[float, float]]) -> Trend | None:
    """The line of least squares through (seconds, figure); None with fewer than three points."""
    if len(points) < 3:
        return None
    times = [time for time, _ in points]
    centre, level = statistics.fmean(times), statistics.fmean(value for _, value in points)
    spread = sum((time - centre) ** 2 for time in times)
    if not spread:
        return None
    slope = sum((time - centre) * (value - level) for time, value in points) / spread
    residue = sum((value - level - slope * (time - centre)) ** 2 for time, value in points)
    error = math.sqrt(residue / (len(points) - 2) / spread)
    low = slope - student(len(points) - 2) * error
    return Trend(slope * 3600, low * 3600, slope * (times[-1] - times[0]))
