"""`secretive-bench slo`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

import click

from clikit.table import render_table
from secretivex.bench.report.fields import encode_run
from secretivex.bench.report.render import render_csv, render_text
from secretivex.bench.run import Outcome, check_ceiling
from secretivex.bench.scenario import Scenario
from secretivex.bench.slo import GATES, TARGET_KINDS, Verdict, judge, parse_targets
from secretivex.cli.bench.options import BenchCall, Duration, shape_options
from secretivex.cli.bench.snapshot import begin_window, read_snapshot
from secretivex.errors import SecretiveError


@click.command("slo")
@shape_options(formats=("text", "json", "csv"), load=False)
@click.option("--gate", type=click.Choice(list(GATES)), help="A load with its targets.")
@click.option(
    "--target",
    "targets",
    metavar="NAME=N,...",
    multiple=True,
    help=f"In place of or beside the gate's: {', '.join(TARGET_KINDS)}.",
)
@click.option("--duration", type=Duration(), help="Instead of the gate's, for each of its tiers.")
@click.option(
    "--clients", type=click.IntRange(min=1), help="Instead of the gate's.  [default: 1000]"
)
def command(
    call: BenchCall,
    *,
    scenario: Scenario,
    gate: str | None,
    targets: tuple[str, ...],
    duration: float | None,
    clients: int | None,
) -> None:
    """Judge an agent; exit status 1 and the reason when a target is missed.

    Clients reconnect for each signature. Without a gate a load of ten seconds is put on.
    """
    wanted = parse_targets(",".join(targets))
    if gate is None and not wanted:
        raise SecretiveError("usage", "give --gate or --target", hint=f"gates: {', '.join(GATES)}")
    chosen = GATES[gate] if gate else replace(GATES["fanout-1000"], targets={}, duration_s=10)
    if clients is not None:
        chosen = replace(chosen, tiers=(clients,))
    chosen = replace(chosen, targets={**chosen.targets, **wanted})
    outcomes, verdicts = [], []
    for tier in chosen.scenarios(scenario, duration_s=duration):
        asks_agent = any(name.startswith("queue_wait") for name in chosen.targets)
        if asks_agent:
            begin_window(tier.address)
        outcome = call.run(tier)
        check_ceiling(outcome)
        snapshot = read_snapshot(tier.address) if asks_agent else {}
        outcomes.append(outcome)
        verdicts += judge(outcome, chosen.targets, snapshot)
    _report(call, outcomes, verdicts)


def _report(call: BenchCall, outcomes: list[Outcome], verdicts: list[Verdict]) -> None:
    missed = [verdict.reason for verdict in verdicts if not verdict.is_met]
    found = SecretiveError("slo_missed", "; ".join(missed)) if missed else None
    data = {
        "verdicts": [{**asdict(one), "is_met": one.is_met} for one in verdicts],
        "runs": [encode_run(outcome) for outcome in outcomes],
    }
    if call.format == "csv":
        call.emit_chunks([render_csv(outcomes)], found=found)
    else:
        call.emit(data, lambda: _lines(outcomes, verdicts), found=found)


def _lines(outcomes: list[Outcome], verdicts: list[Verdict]) -> Iterable[str]:
    yield from map(render_text, outcomes)
    rows = [
        (one.clients, one.target, f"{one.limit:g}", _figure(one), "met" if one.is_met else "MISSED")
        for one in verdicts
    ]
    yield render_table(("CLIENTS", "TARGET", "LIMIT", "MEASURED", "VERDICT"), rows)


def _figure(verdict: Verdict) -> str:
    return "none" if verdict.measured is None else f"{verdict.measured:.6g}"
