"""Buckets of durations as HdrHistogram has them: sixteen to each doubling, so within 6.25 per cent.

Rule for editors: `bucket_of` runs several times a batch; it is arithmetic on one integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

MAX_NS = 2**40 - 1
"""Eighteen minutes; what is longer counts as that."""

BUCKETS = 592
"""One more than `bucket_of(MAX_NS)`."""


def bucket_of(duration_ns: int) -> int:
    """The bucket of a duration; a negative one, which a clock can give, counts as none."""
    if duration_ns < 32:
        return max(0, duration_ns)
    if duration_ns > MAX_NS:
        return BUCKETS - 1
    shift = duration_ns.bit_length() - 5
    return (shift << 4) + (duration_ns >> shift)


def bounds_of(bucket: int) -> tuple[int, int]:
    """The least and the greatest duration of a bucket."""
    if bucket < 32:
        return bucket, bucket
    shift = (bucket >> 4) - 1
    low = ((bucket & 15) + 16) << shift
    return low, low + (1 << shift) - 1


def middle_of(bucket: int) -> int:
    """The duration that stands for a bucket."""
    low, high = bounds_of(bucket)
    return (low + high) // 2


def percentile(counts: Sequence[int], share: float) -> int | None:
    """The duration that `share` of all did not exceed, in ns; None where nothing was counted."""
    wanted = ceil(sum(counts) * share)
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return middle_of(bucket)
    return None


def regroup(counts: Sequence[int], bounds_ns: Sequence[int]) -> tuple[int, ...]:
    """How many did not exceed each bound and exceeded the one before it; last, what exceeded all.

    A bucket that a bound cuts counts whole, on the side of its middle.
    """
    groups = [0] * (len(bounds_ns) + 1)
    place = 0
    for bucket, count in enumerate(counts):
        if not count:
            continue
        middle = middle_of(bucket)
        while place < len(bounds_ns) and middle > bounds_ns[place]:
            place += 1
        groups[place] += count
    return tuple(groups)
