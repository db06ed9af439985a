"""The trend over runs: the score above, what keeps it from a hundred below."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from clikit.plot import AMBER, BLUE, INK, RED, SOFT, VIOLET, render_plot
from fleetmdm.report.model import PROBLEM_STATES, score
from fleetmdm.results import Run, Status

_COLOURS: Final = {Status.FAIL: RED, Status.ERROR: AMBER, Status.UNKNOWN: VIOLET}
_MARKED_RUNS: Final = 60
"""With more runs than this, a mark for each would be a smear."""


def render(runs: Sequence[Run], *, suffix: str) -> bytes:
    """The picture of runs, oldest first; there is at least one."""
    first, last = runs[0], runs[-1]
    named = f"run {last.run_id}" if first is last else f"runs {first.run_id} to {last.run_id}"
    title = f"Compliance trend, {named}"
    return render_plot(partial(_paint, runs), suffix=suffix, title=title, size=(8.5, 5.2))


def _paint(runs: Sequence[Run], figure: Any) -> None:
    rated, problems = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    moments = [run.as_of for run in runs]
    _paint_score(rated, runs, moments)
    _paint_problems(problems, runs, moments)
    _paint_time(problems)
    last, many = runs[-1], f"{len(runs):,} runs; the last" if len(runs) > 1 else "One run; it"
    figure.suptitle("Compliance trend", x=0.02, ha="left", fontsize=14, fontweight="bold")
    rated.set_title(
        f"{many} judged {last.devices:,} devices under {last.policies:,} policies",
        loc="left",
        fontsize=9.5,
        color=SOFT,
        pad=10,
    )


def _paint_score(axes: Any, runs: Sequence[Run], moments: Sequence[datetime]) -> None:
    rated = [(when, score(run.counts)) for when, run in zip(moments, runs, strict=True)]
    decided = [(when, value) for when, value in rated if value is not None]
    whens, values = [when for when, _ in decided], [value for _, value in decided]
    marker = "o" if len(runs) <= _MARKED_RUNS else ""
    axes.plot(whens, values, color=BLUE, linewidth=2, marker=marker, markersize=4.5)
    if values:
        axes.annotate(
            f"{values[-1]:g} %",
            (whens[-1], values[-1]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center" if len(runs) > 1 else "left",
            fontweight="bold",
            color=INK,
        )
    # From the ten below the lowest on: a fleet at 95 % would else draw the same line every day.
    lowest = max(0.0, 10 * (min(values, default=0.0) // 10) - 10)
    axes.set(ylabel="score in %", ylim=(lowest, 100 + 0.12 * (100 - lowest)))
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)
    axes.grid(visible=True, axis="y")


def _paint_problems(axes: Any, runs: Sequence[Run], moments: Sequence[datetime]) -> None:
    # What a run says stands until the next one; the last is given the mean time between runs.
    many = len(runs)
    mean = (moments[-1] - moments[0]) / (many - 1) if many > 1 else timedelta(0)
    ends = [*moments, moments[-1] + (mean or timedelta(minutes=30))]
    counts = [[run.counts.get(state, 0) for run in (*runs, runs[-1])] for state in PROBLEM_STATES]
    axes.stackplot(
        ends,
        *counts,
        labels=[
            f"{state} {each[-1]:,}" for state, each in zip(PROBLEM_STATES, counts, strict=True)
        ],
        colors=[_COLOURS[state] for state in PROBLEM_STATES],
        step="post",
        linewidth=0,
    )
    top = max(map(sum, zip(*counts, strict=True)))
    axes.set(ylabel="verdicts that do not pass", ylim=(0, max(5, top) * 1.08))
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
    axes.grid(visible=True, axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1)


def _paint_time(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call] # not typed there
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call] # not typed there
    axes.set(xlabel="the moment that a run judged by, in UTC")
    axes.margins(x=0.02)
