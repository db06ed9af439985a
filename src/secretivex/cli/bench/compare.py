"""`secretive-bench compare`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from agentclient.address import check_length
from clikit.command.plotting import check_plot, write_plot
from clikit.table import render_table
from secretivex.bench.compare import Comparison, at_address, compare, encode_ratio
from secretivex.bench.report.fields import encode_run
from secretivex.bench.report.plot import draw
from secretivex.bench.report.render import render_csv
from secretivex.bench.scenario import Scenario
from secretivex.bench.statistics import Ratio
from secretivex.cli.bench.options import BenchCall, shape_options
from secretivex.cli.bench.run import PLOT_OPTION
from secretivex.cli.client.session import expand_socket
from secretivex.errors import SecretiveError


@click.command("compare")
@click.argument("a", metavar="SOCKET_A")
@click.argument("b", metavar="SOCKET_B")
@shape_options(formats=("text", "json", "csv"), socket=False)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Pairs of runs; the interval needs two.",
)
@PLOT_OPTION
def command(
    call: BenchCall,
    *,
    a: str,
    b: str,
    scenario: Scenario,
    key: str | None,
    rounds: int,
    plot: Path | None,
) -> None:
    """Put the same load on two agents in turn, and print the ratios of A to B.

    The interval of 95 % confidence is Student's on the logarithms of the pairs' ratios. --duration
    is that of each single run.
    """
    if plot is not None:
        check_plot(plot, output=call.output)
    a, b = (expand_socket(address, call.environ) for address in (a, b))
    if a == b:
        raise SecretiveError("usage", "SOCKET_A and SOCKET_B are the same")
    sides = []
    for address in (a, b):
        check_length(address)
        sides.append(at_address(scenario, address, call.key_of(address, scenario, key)))
    result = compare(sides[0], sides[1], rounds=rounds, run=call.run)
    if plot is not None:
        lines = [("A", result.a[-1]), ("B", result.b[-1])]
        write_plot(call, plot, draw(lines, suffix=plot.suffix))
    failures = result.failures()
    found = None
    if any(failures.values()):
        message = f"requests failed: {failures['a']} on A, {failures['b']} on B"
        found = SecretiveError("load_failed", message)
    if call.format == "csv":
        call.emit_chunks([render_csv([*result.a, *result.b])], found=found)
    else:
        call.emit(_encode(result, a, b), lambda: _lines(result), found=found)


def _encode(result: Comparison, a: str, b: str) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "rounds": len(result.a),
        "ratios": {name: encode_ratio(ratio) for name, ratio in result.ratios().items()},
        "failures": result.failures(),
        "runs_a": [encode_run(outcome) for outcome in result.a],
        "runs_b": [encode_run(outcome) for outcome in result.b],
    }


def _lines(result: Comparison) -> Iterable[str]:
    rows = [(name, *_cells(ratio)) for name, ratio in result.ratios().items()]
    yield render_table(("A / B", "RATIO", "95 % INTERVAL"), rows)
    failures = result.failures()
    yield f"{len(result.a)} rounds; failed: {failures['a']} on A, {failures['b']} on B\n"


def _cells(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "none", "a figure is missing"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}", "needs two rounds"
    return f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"
