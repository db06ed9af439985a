"""Ratios measured in one run: A and B in turn, the median of at least five, a target to meet.

Absolute times of a shared machine mean little; the ratio of two things measured side by side does.
Each benchmark prints one table, writes JSON beside it when asked, and exits 1 on a missed target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """Two alternating series and what their ratio must be."""

    work: str
    against: str
    seconds_a: list[float]
    seconds_b: list[float]
    ratio: float
    target: str
    met: bool


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(
    work: str,
    against: str,
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    at_most: float,
    rounds: int = ROUNDS,
) -> Measured:
    """Time A and B in turn, after one uncounted round; the median of the pairs' ratios counts."""
    a()
    b()
    pairs = [(seconds(a), seconds(b)) for _ in range(rounds)]
    ratio = statistics.median(first / second for first, second in pairs)
    return Measured(
        work,
        against,
        [first for first, _ in pairs],
        [second for _, second in pairs],
        ratio,
        f"at most {at_most:g}",
        ratio <= at_most,
    )


def read_options(**sizes: int) -> argparse.Namespace:
    """The command line: --json FILE, and an option for each size that a benchmark can be given."""
    parser = argparse.ArgumentParser(description="Print ratios; exit 1 when a target is missed.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    return parser.parse_args()


def finish(rows: list[Measured], options: argparse.Namespace | None = None) -> None:
    """Print the table, write --json FILE, and exit 0 only if every target was met."""
    options = options or read_options()
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    for row in rows:
        low, high = min(row.seconds_a), max(row.seconds_a)
        print(
            f"{row.work} / {row.against}: {row.ratio:.2f} ({row.target}, "
            f"{'met' if row.met else 'MISSED'}); "
            f"{statistics.median(row.seconds_a):.3f} s ({low:.3f} to {high:.3f}) against "
            f"{statistics.median(row.seconds_b):.3f} s, {len(row.seconds_a)} rounds"
        )
    if options.json:
        document = {"machine": machine, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(row.met for row in rows) else 1)
