"""`fleetmdm report`: a recorded run, or the fleet as it is now, in the format asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import click
from click.core import ParameterSource

from clikit.errors import Failure
from fleetmdm.cli.judging.gate import FAIL_ON_HELP, gate_failure, parse_gate, stale_after
from fleetmdm.cli.judging.gathering import Moment, find_run, gather_live, gather_stored
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.config import REPORT_FORMATS
from fleetmdm.errors import FleetError
from fleetmdm.report.model import Report
from fleetmdm.report.selection import Selection, SortBy
from fleetmdm.results import Severity
from fleetmdm.store.port import FleetStore

_REDACTIONS: Final = ("none", "minimal", "strict")


_SELECTION: Final = (
    click.option("--only-failing", is_flag=True, help="Only policies that a device fails."),
    click.option(
        "--only-skipped", is_flag=True, help="Only policies that no device passes or fails."
    ),
    click.option("--only-assigned", is_flag=True, help="Only policies that are assigned."),
    click.option("--policy", "policy_ids", multiple=True, metavar="ID", help="Only this."),
    click.option("--device", "device_ids", multiple=True, metavar="ID", help="Only this."),
    click.option("--tag", "tags", multiple=True, help="Only devices with this tag."),
    click.option(
        "--severity",
        "severities",
        multiple=True,
        type=click.Choice([each.value for each in Severity]),
        help="Only policies of this severity.",
    ),
    click.option(
        "--framework",
        "frameworks",
        multiple=True,
        help="Only policies that refer to this framework, such as CIS.",
    ),
    click.option(
        "--sort-by",
        type=click.Choice([each.value for each in SortBy]),
        default=SortBy.SEVERITY.value,
        show_default=True,
        help="Order of the policies.",
    ),
    click.option("--top", type=click.IntRange(min=0), help="Only the first N policies; 0 is all."),
    click.option("--limit", type=click.IntRange(min=0), help="Only the first N rows; 0 is all."),
    click.option(
        "--offset", type=click.IntRange(min=0), default=0, help="Rows to leave out first."
    ),
)
"""The filters, the order and the bounds."""


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose what is shown."""
    for option in reversed(_SELECTION):
        function = option(function)
    return function


@click.command()
@click.option("--run", "run_id", type=click.IntRange(min=1), help="Number of the run [the latest].")
@click.option("--live", is_flag=True, help="Judge the fleet as it is now; nothing is recorded.")
@selection_options
@click.option(
    "--fail-on",
    multiple=True,
    metavar="STATE",
    help=FAIL_ON_HELP,
)
@click.option(
    "--sarif-max-failures-per-policy",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Only the first N results of each policy, in SARIF; 0 is all.",
)
@click.option(
    "--redaction",
    type=click.Choice(_REDACTIONS),
    help="Show what this evidence profile lets through [setting report.redaction, none].",
)
@click.option(
    "--data-url",
    metavar="URL",
    help="Where every row is kept; html and markdown, which show a few of many, link to it.",
)
@fleet_options(REPORT_FORMATS)
def command(call: FleetCall, **options: Any) -> None:
    """Show the result of a run."""
    selection = _selection(call, options)
    gate = parse_gate(call, options["fail_on"], drift=not options["live"])
    if options["live"] and options["run_id"] is not None:
        raise FleetError("usage", "--live and --run exclude each other")
    source = click.get_current_context().get_parameter_source("format")
    if source is ParameterSource.DEFAULT:
        call.format = call.setting("report.format")
    with call.open_store() as store:
        report = _gather(call, store, options["run_id"], selection, live=options["live"])
        report = _redacted(store, report, call.setting("report.redaction", options["redaction"]))
        changed = _changed(store, report) if gate.drift else 0
        found = gate_failure(report.lines, gate, changed=changed)
        cap = options["sarif_max_failures_per_policy"]
        call.emit_chunks(_render(call, report, found, cap, options["data_url"]), found=found)


def _changed(store: FleetStore, report: Report) -> int:
    from fleetmdm.cli.judging.drifting import count_changed

    shown = {line.policy.id for line in report.lines}
    return count_changed(store, report.run, shown, report.selection)


def _selection(call: FleetCall, options: Mapping[str, Any]) -> Selection:
    return Selection(
        only_failing=options["only_failing"],
        only_skipped=options["only_skipped"],
        only_assigned=options["only_assigned"],
        policy_ids=tuple(options["policy_ids"]),
        device_ids=tuple(options["device_ids"]),
        tags=tuple(options["tags"]),
        severities=tuple(map(Severity, options["severities"])),
        frameworks=tuple(options["frameworks"]),
        sort_by=SortBy(options["sort_by"]),
        top=call.setting("report.top", options["top"]),
        limit=options["limit"] or 0,
        offset=options["offset"],
    )


def _gather(
    call: FleetCall, store: FleetStore, run_id: int | None, selection: Selection, *, live: bool
) -> Report:
    if not live:
        return gather_stored(store, find_run(store, run_id), selection)
    from importlib.metadata import version

    tool_version = version("secretivex-fleetmdm")
    moment = Moment(call.now(), tool_version, stale_after(call))
    return gather_live(store, selection, moment)


def _redacted(store: FleetStore, report: Report, name: str) -> Report:
    """The report under a redaction profile."""
    if name == "none":
        return report
    from fleetmdm.cli.judging.redaction import redact
    from fleetmdm.evidence.redact import Profile

    devices = store.devices() if report.live else store.run_devices(report.run.run_id)
    return redact(report, Profile(name), store.fleet_key(), devices)


def _render(
    call: FleetCall, report: Report, found: Failure | None, sarif_cap: int, data_url: str | None
) -> Iterator[str]:
    import importlib

    own: Mapping[str, Mapping[str, Any]] = {
        "table": {"width": call.width},
        "json": {"found": found},
        "sarif": {"max_failures_per_policy": sarif_cap},
        "markdown": {"data_url": data_url},
        "html": {"data_url": data_url},
    }
    module = importlib.import_module(f"fleetmdm.report.to_{call.format}")
    rendered: Iterator[str] = partial(module.render, report, **own.get(call.format, {}))()
    return rendered
