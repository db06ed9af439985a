"""`secretive-bench run`."""

from __future__ import annotations

from pathlib import Path

import click

from clikit.command.plotting import check_plot, plot_option, write_plot
from secretivex.bench.report.fields import encode_run
from secretivex.bench.report.plot import draw
from secretivex.bench.report.render import render_csv, render_text
from secretivex.bench.run import Outcome, check_ceiling
from secretivex.bench.scenario import Scenario
from secretivex.cli.bench.options import BenchCall, shape_options
from secretivex.errors import SecretiveError

PLOT_OPTION = plot_option("latency over time and its distribution")


@click.command("run")
@shape_options(formats=("text", "json", "csv"))
@PLOT_OPTION
@click.option("--no-csv-header", is_flag=True, help="Without the line of names.")
@click.option(
    "--max-failure-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of requests that may fail before the exit status says so.",
)
def command(
    call: BenchCall,
    *,
    scenario: Scenario,
    plot: Path | None,
    no_csv_header: bool,
    max_failure_rate: float,
) -> None:
    """Put a load on an agent and measure it.

    Latency counts from before connect, or from when a request was due; every request after the
    warm-up counts. A run that this tool itself may have limited is not reported.
    """
    if plot is not None:
        check_plot(plot, output=call.output)
    outcome = call.run(scenario)
    check_ceiling(outcome)
    if plot is not None:
        write_plot(call, plot, draw([(scenario.mode, outcome)], suffix=plot.suffix))
    found = too_many_failures(outcome, max_failure_rate)
    if call.format == "csv":
        call.emit_chunks([render_csv([outcome], header=not no_csv_header)], found=found)
    else:
        call.emit(encode_run(outcome), lambda: [render_text(outcome)], found=found)


def too_many_failures(outcome: Outcome, at_most: float) -> SecretiveError | None:
    """What ends a run whose requests failed, or that had none."""
    if not outcome.tally.latency.total and not outcome.failed:
        return SecretiveError("load_failed", "not one request was due: measure for longer")
    if outcome.failure_rate <= at_most:
        return None
    kinds = ", ".join(f"{kind} {count}" for kind, count in outcome.tally.failures.items() if count)
    return SecretiveError("load_failed", f"{outcome.failed} requests failed: {kinds}")
