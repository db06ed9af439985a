"""Ratios measured in one run: A and B in turn, the median of at least five, a target to meet.

Absolute times of a shared machine mean little; the ratio of two things measured side by side does.
Each benchmark prints one table, writes JSON beside it when asked, and exits 1 on a missed target,
77 (as Automake says "skipped") when a row cannot be measured yet and none was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

ROUNDS = 5
NOT_MEASURABLE = 77


@dataclass(frozen=True)
class Measured:
    """One row: two alternating series and their ratio, or one series and the figure it must keep.

    `ratio` is the median of the pairs' ratios, or of the one series. `met` is None for a row that
    is reported without a target, and for one that `note` says cannot be measured yet.
    """

    work: str
    against: str
    values_a: Sequence[float]
    values_b: Sequence[float]
    ratio: float
    target: str
    met: bool | None
    unit: str = "s"
    note: str = ""
    is_measured: bool = True


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
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    return judge(work, against, first, second, at_most=at_most)


def judge(
    work: str,
    against: str,
    a: Sequence[float],
    b: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "s",
) -> Measured:
    """The row of two series measured in turn; without a limit it is reported only."""
    ratio = statistics.median(
        first / second if second else 0.0 for first, second in zip(a, b, strict=True)
    )
    return Measured(work, against, a, b, ratio, *_verdict(ratio, at_most, at_least), unit)


def bound(
    work: str,
    values: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "s",
    worst: bool = False,
) -> Measured:
    """The row of one series against a figure: its median, or with `worst` each single value."""
    pick = (max if at_most is not None else min) if worst else statistics.median
    figure = float(pick(values))
    return Measured(work, "", values, (), figure, *_verdict(figure, at_most, at_least), unit)


def not_measurable(work: str, why: str) -> Measured:
    """A row of the table of targets that nothing can measure yet."""
    return Measured(work, "", (), (), 0.0, "", None, note=why, is_measured=False)


def with_note(row: Measured, note: str) -> Measured:
    """The same row with a remark for its reader."""
    return replace(row, note=note)


def _verdict(
    figure: float, at_most: float | None, at_least: float | None
) -> tuple[str, bool | None]:
    if at_most is not None:
        return f"at most {at_most:g}", figure <= at_most
    if at_least is not None:
        return f"at least {at_least:g}", figure >= at_least
    return "reported", None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark understands."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")


def read_options(**sizes: int) -> argparse.Namespace:
    """The command line: --json FILE, and an option for each size that a benchmark can be given."""
    parser = argparse.ArgumentParser(description="Print ratios; exit 1 when a target is missed.")
    add_options(parser)
    for name, default in sizes.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=default, help=f"[{default}]")
    return parser.parse_args()


def finish(rows: list[Measured], options: argparse.Namespace | None = None) -> None:
    """Print the table, write --json FILE, and exit 0 only if every target was met."""
    options = options or read_options()
    machine = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    for row in rows:
        print(render_row(row))
    if options.json:
        document = {
            "benchmark": Path(sys.argv[0]).stem,
            "machine": machine,
            "rows": [asdict(row) for row in rows],
        }
        options.json.parent.mkdir(exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if any(row.met is False for row in rows):
        sys.exit(1)
    sys.exit(0 if all(row.is_measured for row in rows) else NOT_MEASURABLE)


def describe_machine() -> dict[str, str | int | None]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "openssh": _first_line("ssh", "-V"),
        **{name: _version(name) for name in ("cryptography", "uvloop", "msgspec")},
        "revision": _first_line("git", "rev-parse", "--short", "HEAD"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _first_line(*command: str) -> str:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    except FileNotFoundError:
        return "none"
    return next(iter((done.stdout + done.stderr).splitlines()), "none")


def render_row(row: Measured) -> str:
    """One line for people."""
    if not row.is_measured:
        return f"{row.work}: NOT MEASURABLE YET: {row.note}"
    verdict = {None: row.target, True: f"{row.target}, met", False: f"{row.target}, MISSED"}
    text = f"{row.work}{f' / {row.against}' if row.against else ''}: {row.ratio:.3g} "
    text += f"{'' if row.values_b else row.unit + ' '}({verdict[row.met]}); "
    text += _spread(row.values_a, row.unit)
    if row.values_b:
        text += f" against {_spread(row.values_b, row.unit)}"
    return text + f", {len(row.values_a)} rounds{f'; {row.note}' if row.note else ''}"


def _spread(values: Sequence[float], unit: str) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.4g} {unit} ({low:.4g} to {high:.4g})"
