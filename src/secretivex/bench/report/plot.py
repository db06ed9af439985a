"""A picture of a run: latency over time, and how it is distributed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from clikit.plot import AMBER, BLUE, GREEN, RED, VIOLET, label, render_plot
from secretivex.bench.run import Outcome

_COLOURS: Final = (BLUE, RED, GREEN, AMBER, VIOLET)

Named = tuple[str, Outcome]


def draw(outcomes: Sequence[Named], *, suffix: str) -> bytes:
    """The picture of runs with their names, as SVG or PNG."""
    title = f"Latency of {', '.join(name for name, _ in outcomes)}"
    return render_plot(partial(_paint, outcomes), suffix=suffix, title=title, size=(8.5, 7))


def _paint(outcomes: Sequence[Named], figure: Any) -> None:
    over_time, distribution = figure.subplots(2, 1)
    figure.suptitle("Latency", x=0.02, ha="left", fontsize=14, fontweight="bold")
    for place, (name, outcome) in enumerate(outcomes):
        colour = _COLOURS[place % len(_COLOURS)]
        _draw_over_time(over_time, label(name), outcome, colour)
        points = list(outcome.tally.latency.cumulative())
        distribution.plot(
            [ns / 1e6 for ns, _ in points],
            [share * 100 for _, share in points],
            label=label(name),
            color=colour,
        )
    over_time.set(xlabel="seconds since the warm-up", ylabel="latency in ms", ylim=(0, None))
    distribution.set(xlabel="latency in ms", ylabel="per cent of requests", xscale="log")
    for axes in (over_time, distribution):
        axes.grid(visible=True)
        axes.legend()


def _draw_over_time(axes: Any, name: str, outcome: Outcome, colour: str) -> None:
    slices = sorted(outcome.tally.slices.items())
    middle = [(index + 0.5) * outcome.scenario.interval_s for index, _ in slices]
    for percent, style in ((50, "-"), (99, "--")):
        values = [one.latency.percentile(percent) / 1e6 for _, one in slices]
        axes.plot(middle, values, style, marker=".", color=colour, label=f"{name} p{percent}")
