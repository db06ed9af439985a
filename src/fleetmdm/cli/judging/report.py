"""`fleetmdm report`: the latest run, or a named one, in the format asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import click
from click.core import ParameterSource

from clikit.errors import Failure
from fleetmdm.cli.judging.gate import FAIL_ON_HELP, fail_states, policy_failures
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.engines.local import load_policies
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import evaluate
from fleetmdm.policy import CompliancePolicy
from fleetmdm.report import (
    to_csv,
    to_html,
    to_json,
    to_junit,
    to_markdown,
    to_sarif,
    to_table,
)
from fleetmdm.report.model import PolicyLine, Report, SortBy, row_stream, sort_lines
from fleetmdm.results import ResultRow, Run, Status
from fleetmdm.store.port import FleetStore
from fleetmdm.store.selections import run_selections
from fleetmdm.store.standing import RunStanding

FORMATS: Final = ("table", "json", "csv", "junit", "sarif", "markdown", "html")


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a run is shown."""

    only_failing: bool
    only_skipped: bool
    only_assigned: bool
    policy_ids: Sequence[str]
    device_id: str | None
    sort_by: SortBy
    top: int


@click.command()
@click.option("--run", "run_id", type=click.IntRange(min=1), help="Number of the run [the latest].")
@click.option("--only-failing", is_flag=True, help="Only policies that some device fails.")
@click.option("--only-skipped", is_flag=True, help="Only policies that no device passes or fails.")
@click.option("--only-assigned", is_flag=True, help="Only policies that are assigned.")
@click.option("--policy", "policy_ids", multiple=True, metavar="ID", help="Only this policy.")
@click.option("--device", "device_id", metavar="ID", help="Only this device.")
@click.option(
    "--sort-by",
    type=click.Choice([each.value for each in SortBy]),
    default=SortBy.SEVERITY.value,
    show_default=True,
    help="Order of the policies.",
)
@click.option("--top", type=click.IntRange(min=0), help="Only the first N policies; 0 is all.")
@click.option("--fail-on", multiple=True, metavar="STATE", help=FAIL_ON_HELP)
@click.option(
    "--sarif-max-failures-per-policy",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Only the first N results of each policy, in SARIF; 0 is all.",
)
@fleet_options(FORMATS)
def command(  # noqa: PLR0913 - one parameter for each option
    call: FleetCall,
    *,
    run_id: int | None,
    only_failing: bool,
    only_skipped: bool,
    only_assigned: bool,
    policy_ids: Sequence[str],
    device_id: str | None,
    sort_by: str,
    top: int | None,
    fail_on: Sequence[str],
    sarif_max_failures_per_policy: int,
) -> None:
    """Show the result of a run."""
    filters = Filters(
        only_failing=only_failing,
        only_skipped=only_skipped,
        only_assigned=only_assigned,
        policy_ids=policy_ids,
        device_id=device_id,
        sort_by=SortBy(sort_by),
        top=call.setting("report.top", top),
    )
    states = fail_states(call, fail_on)
    source = click.get_current_context().get_parameter_source("format")
    if source is ParameterSource.DEFAULT:
        call.format = call.setting("report.format")
    with call.open_store() as store:
        run = _find_run(store, run_id)
        report = build_report(store, run, filters)
        found = policy_failures(report.lines, states)
        call.emit_chunks(_render(call, report, found, sarif_max_failures_per_policy), found=found)


def _render(
    call: FleetCall, report: Report, found: Failure | None, sarif_cap: int
) -> Iterator[str]:
    renderers: Mapping[str, Callable[[], Iterator[str]]] = {
        "table": partial(to_table.render, report, width=call.width),
        "json": partial(to_json.render, report, found=found),
        "csv": partial(to_csv.render, report),
        "junit": partial(to_junit.render, report),
        "sarif": partial(to_sarif.render, report, max_failures_per_policy=sarif_cap),
        "markdown": partial(to_markdown.render, report),
        "html": partial(to_html.render, report),
    }
    return renderers[call.format]()


def _find_run(store: FleetStore, run_id: int | None) -> Run:
    if run_id is not None:
        return store.run(run_id)
    latest = next(iter(store.runs(limit=1)), None)
    if latest is None:
        raise FleetError("run_not_found", "there is no run yet", hint="fleetmdm check makes one")
    return latest


def build_report(store: FleetStore, run: Run, filters: Filters) -> Report:
    """The report of a run; its rows are read from the store while it is rendered."""
    policies = load_policies(store.run_policies(run.run_id))
    _refuse_unknown(policies, filters.policy_ids)
    standing = RunStanding(store, run, policies)
    counts: Mapping[str, Mapping[Status, int]] = run.policy_counts
    if filters.device_id is None:
        differences = standing.differences()
    else:
        counts = _device_counts(store, run, policies, filters.device_id)
        differences = standing.device_differences(filters.device_id, counts)
    assigned = {one.policy_id for one in store.run_assignments(run.run_id)}
    shown = [
        PolicyLine(policy, counts.get(policy.id, {}), differences.get(policy.id, {}))
        for policy in policies
        if policy.id in assigned or not filters.only_assigned
    ]
    lines = sort_lines((line for line in shown if _is_shown(line, filters)), filters.sort_by)
    if filters.top:
        lines = lines[: filters.top]
    rows = row_stream(standing.judge(_read_rows(store, run, filters)), lines)
    return Report(run, lines, rows, filters.device_id)


def _is_shown(line: PolicyLine, filters: Filters) -> bool:
    failed, passed = line.count(Status.FAIL), line.count(Status.PASS)
    return (
        (not filters.policy_ids or line.policy.id in filters.policy_ids)
        and (not filters.only_failing or failed > 0)
        and (not filters.only_skipped or (failed == 0 and passed == 0))
    )


def _read_rows(store: FleetStore, run: Run, filters: Filters) -> Iterator[ResultRow]:
    only = filters.policy_ids[0] if len(filters.policy_ids) == 1 else None
    statuses = frozenset({Status.FAIL}) if filters.only_failing else frozenset[Status]()
    return store.results(run.run_id, device_id=filters.device_id, policy_id=only, statuses=statuses)


def _device_counts(
    store: FleetStore, run: Run, policies: Sequence[CompliancePolicy], device_id: str
) -> dict[str, dict[Status, int]]:
    """One device's states: judged again as the run did, since its passes have no rows."""
    devices = list(store.run_devices(run.run_id, device_id=device_id))
    if not devices:
        raise FleetError("device_not_found", f"run {run.run_id} knew no device {device_id}")
    verdicts = evaluate(devices, policies, run.as_of, run_selections(store, run))
    return {verdict.policy_id: {verdict.status: 1} for verdict in verdicts}


def _refuse_unknown(policies: Sequence[CompliancePolicy], wanted: Sequence[str]) -> None:
    known = {policy.id for policy in policies}
    for name in wanted:
        if name not in known:
            raise FleetError("policy_not_found", f"the run used no policy {name}")
