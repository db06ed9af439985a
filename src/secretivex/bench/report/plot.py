"""A picture of a run: latency over time, and how it is distributed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

from secretivex.bench.run import Outcome
from secretivex.errors import SecretiveError

SUFFIXES: Final = (".svg", ".png")


def check_plot(path: Path) -> None:
    """Raise before a run what would only be found after it: `usage` or `missing_extra`."""
    if path.suffix not in SUFFIXES:
        raise SecretiveError("usage", f"--plot {path}: the name must end in .svg or .png")
    _library()


def draw(outcomes: list[tuple[str, Outcome]], *, suffix: str) -> bytes:
    """The picture of runs with their names, as SVG or PNG."""
    figure = _library()(figsize=(10, 8), layout="constrained")
    over_time, distribution = figure.subplots(2, 1)
    for name, outcome in outcomes:
        _draw_over_time(over_time, name, outcome)
        points = list(outcome.tally.latency.cumulative())
        distribution.plot(
            [ns / 1e6 for ns, _ in points], [share * 100 for _, share in points], label=name
        )
    over_time.set(xlabel="seconds since the warm-up", ylabel="latency in ms", ylim=(0, None))
    distribution.set(xlabel="latency in ms", ylabel="per cent of requests", xscale="log")
    for axes in (over_time, distribution):
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format=suffix.removeprefix("."))
    return file.getvalue()


def _draw_over_time(axes: Any, name: str, outcome: Outcome) -> None:
    slices = sorted(outcome.tally.slices.items())
    middle = [(index + 0.5) * outcome.scenario.interval_s for index, _ in slices]
    for percent in (50, 99):
        values = [one.latency.percentile(percent) / 1e6 for _, one in slices]
        axes.plot(middle, values, marker=".", label=f"{name} p{percent}")


def _library() -> Any:
    """Matplotlib's figure, which draws without any window system."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SecretiveError(
            "missing_extra",
            "plots need matplotlib, which is not installed",
            hint="pip install 'secretivex-fleetmdm[plot]'",
        ) from error
    return Figure
