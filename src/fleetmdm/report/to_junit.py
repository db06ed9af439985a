"""A report as JUnit XML, valid against the common XSD: one test case for each policy.

A case fails where a device fails, errs where none fails and one errs or is unknown, and is skipped
where the policy was decided for no device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from clikit.table import show_text
from fleetmdm.report.model import PROBLEM_STATES, SCORED_STATES, PolicyLine, Report, ReportRow
from fleetmdm.report.samples import sample_rows
from fleetmdm.report.to_table import describe
from fleetmdm.results import Status
from fleetmdm.rfc3339 import encode_time


def render(report: Report) -> Iterator[str]:
    """The whole document."""
    samples = sample_rows(report)
    kinds = [_kind(line) for line in report.lines]
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    yield (
        f'<testsuite name="FleetMDM compliance" package="fleetmdm" id="0" hostname="fleet"'
        f" timestamp={_attribute(_moment(report.run.as_of))}"
        f' tests="{len(kinds)}" failures="{kinds.count("failure")}"'
        f' errors="{kinds.count("error")}" skipped="{kinds.count("skipped")}" time="0">\n'
    )
    yield (
        "<properties>"
        f'<property name="run_id" value="{report.run.run_id or ""}"/>'
        f'<property name="devices" value="{report.device_count}"/>'
        f'<property name="as_of" value="{encode_time(report.run.as_of)}"/>'
        "</properties>\n"
    )
    for line, kind in zip(report.lines, kinds, strict=True):
        yield _case(line, kind, samples[line.policy.id])
    yield "<system-out></system-out>\n<system-err></system-err>\n</testsuite>\n</testsuites>\n"


def _kind(line: PolicyLine) -> str:
    if line.count_open(Status.FAIL):
        return "failure"
    if line.count_open(Status.ERROR) or line.count_open(Status.UNKNOWN):
        return "error"
    return "" if line.count(Status.PASS) else "skipped"


def _has_problems(line: PolicyLine) -> bool:
    return any(line.count(state) for state in PROBLEM_STATES)


def _case(line: PolicyLine, kind: str, rows: Sequence[ReportRow]) -> str:
    policy = line.policy
    head = (
        f"<testcase name={_attribute(policy.id)}"
        f' classname={_attribute(f"fleetmdm.{policy.severity}")} time="0">'
    )
    if not kind:
        return f"{head}</testcase>\n"
    counts = ", ".join(f"{line.count(state)} {state}" for state in SCORED_STATES)
    if kind == "skipped":
        why = "waived or in grace" if _has_problems(line) else "decided for no device"
        return f'{head}<skipped message="{why}"></skipped></testcase>\n'
    body = "\n".join(_sentences(policy.name, rows))
    return (
        f'{head}<{kind} type="{policy.severity}" message={_attribute(counts)}>'
        f"{escape(body)}</{kind}></testcase>\n"
    )


def _sentences(name: str, rows: Sequence[ReportRow]) -> Iterator[str]:
    yield show_text(name)
    for each in rows:
        what = "; ".join(describe(finding) for finding in each.findings())
        yield show_text(f"{each.row.device_id}: {each.state}: {what}")


def _attribute(value: str) -> str:
    return quoteattr(show_text(value))


def _moment(moment: datetime) -> str:
    """The schema knows no zone: this is UTC."""
    return encode_time(moment.replace(microsecond=0)).removesuffix("Z")
