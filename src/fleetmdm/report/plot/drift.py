"""What changed between two runs: a bar for each policy, better to the left, worse to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from clikit.plot import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    MAX_LABEL_CHARS,
    RED,
    SOFT,
    label,
    render_plot,
)
from fleetmdm.drift import Change, Drift
from fleetmdm.results import Run

MAX_BARS: Final = 24
"""Policies that have a bar; what the others come to is one more."""

_COLOURS: Final = {
    Change.RESOLVED: GREEN,
    Change.REGRESSED: RED,
    Change.ALTERED: AMBER,
    Change.NEW: BLUE,
    Change.VANISHED: GREY,
}

_LEAST_BARS: Final = 3
_LEAST_REACH: Final = 5
"""What one change is drawn against: alone it would fill the picture."""

Bar = tuple[str, Mapping[Change, int]]


def render(before: Run, after: Run, drift: Drift, *, suffix: str) -> bytes:
    """The picture of the drift from one run to another."""
    title = f"Drift from run {before.run_id} to run {after.run_id}"
    bars = _bars(drift)
    height = 2.1 + 0.27 * max(_LEAST_BARS, len(bars))
    paint = partial(_paint, before, after, drift, bars)
    return render_plot(paint, suffix=suffix, title=title, size=(8.5, height))


def _bars(drift: Drift) -> list[Bar]:
    """The policies with the most changes, worst first, and the sum of the rest."""

    def rank(bar: Bar) -> tuple[int, int, str]:
        return -bar[1].get(Change.REGRESSED, 0), -sum(bar[1].values()), bar[0]

    ordered = sorted(drift.by_policy.items(), key=rank)
    shown = [(label(name, MAX_LABEL_CHARS), counts) for name, counts in ordered[:MAX_BARS]]
    rest = [counts for _, counts in ordered[MAX_BARS:]]
    if rest:
        total = {change: sum(each.get(change, 0) for each in rest) for change in Change}
        shown.append((f"{len(rest):,} more policies", total))
    return shown


def _paint(before: Run, after: Run, drift: Drift, bars: Sequence[Bar], figure: Any) -> None:
    axes = figure.subplots()
    figure.suptitle(
        f"Drift from run {before.run_id} to run {after.run_id}",
        x=0.02,
        ha="left",
        fontsize=14,
        fontweight="bold",
    )
    moments = [f"{run.as_of:%Y-%m-%d %H:%M} UTC" for run in (before, after)]
    axes.set_title(" to ".join(moments), loc="left", fontsize=9.5, color=SOFT, pad=24)
    if not bars:
        axes.text(0.5, 0.5, "no verdict changed", ha="center", transform=axes.transAxes)
        axes.set(xticks=(), yticks=())
        axes.spines[:].set_visible(False)
        return
    _paint_bars(axes, drift, bars)


def _paint_bars(axes: Any, drift: Drift, bars: Sequence[Bar]) -> None:
    places = range(len(bars))
    left, right = [0] * len(bars), [0] * len(bars)
    for change, colour in _COLOURS.items():
        if not drift.counts.get(change):
            continue
        widths = [counts.get(change, 0) for _, counts in bars]
        name = f"{change} {drift.counts[change]:,}"
        if change is Change.RESOLVED:
            axes.barh(places, [-width for width in widths], color=colour, height=0.66, label=name)
            left = widths
        else:
            axes.barh(places, widths, left=right, color=colour, height=0.66, label=name)
            right = [sum(pair) for pair in zip(right, widths, strict=True)]
    reach = max(*left, *right, _LEAST_REACH)
    axes.set_yticks(places, [name for name, _ in bars])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(bars), _LEAST_BARS) - 0.4, -0.6)
    ends = (max(left), max(right))
    least = _LEAST_REACH if sum(ends) < _LEAST_REACH else 0
    axes.set_xlim(-ends[0] - 0.04 * reach, max(ends[1], least) + 0.04 * reach)
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.xaxis.set_major_formatter(lambda value, _place: f"{abs(value):,.0f}")
    axes.set_xlabel("devices whose verdict changed (resolved to the left)")
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, handlelength=1)
