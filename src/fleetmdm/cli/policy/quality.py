"""`fleetmdm policy lint|test`: mistakes in policy files, and the tests that policies carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import click

from clikit.table import show_text
from fleetmdm.cli.policy.files import all_policies, read_library, read_paths
from fleetmdm.cli.policy.mutation import Mutation, mutate_policies
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.evaluate.examples import TestOutcome, run_tests
from fleetmdm.lint import LINT_CODES, lint_files, lint_tags
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import PolicyFile, Problem
from fleetmdm.report.lint_to_sarif import render_findings

_LIBRARY = click.option(
    "--library", metavar="NAME", help="A set of the library that ships, or `all`."
)
_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE|DIR]...")


@click.command()
@_PATHS
@_LIBRARY
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(sorted(LINT_CODES)),
    metavar="CODE",
    help="Leave findings with this code out; may be repeated.",
)
@click.option("--fleet", is_flag=True, help="Look for tags that no device of the fleet has, too.")
@fleet_options(formats=("table", "json", "sarif"))
def lint(
    call: FleetCall,
    paths: Sequence[Path],
    library: str | None,
    ignore: Sequence[str],
    *,
    fleet: bool,
) -> None:
    """Look for mistakes in policy files; folders are searched to the bottom."""
    files = _files(paths, library)
    if not files:
        raise FleetError("usage", "nothing to lint", hint="name files or folders")
    findings = lint_files(files, ignore=ignore)
    if fleet and "unmatched_tag" not in ignore:
        with call.open_store() as store:
            tags = {tag for device in store.devices() for tag in device.tags}
        findings = sorted([*findings, *(one for file in files for one in lint_tags(file, tags))])
    data = {
        "files": len(files),
        "policies": sum(len(file.policies) for file in files),
        "findings": [finding.as_json() for finding in findings],
    }
    found = None
    if findings:
        found = FleetError(
            "lint_findings",
            f"findings: {len(findings)}, in {len({each.file for each in findings})} files",
        )
    if call.format == "sarif":
        document = render_findings(findings, tool_version=version("secretivex-fleetmdm"))
        call.emit_chunks([document], found=found)
    else:
        call.emit(data, lambda: _lint_text(findings, data), found=found)


def _lint_text(findings: Sequence[Problem], data: dict[str, Any]) -> Iterator[str]:
    for finding in findings:
        yield f"{show_text(finding)}\n"
    if not findings:
        yield f"{data['policies']} policies in {data['files']} files: nothing found\n"


def _files(paths: Sequence[Path], library: str | None) -> list[PolicyFile]:
    return [*read_paths(paths), *(read_library(library) if library is not None else ())]


@click.command()
@_PATHS
@_LIBRARY
@click.option(
    "--mutate",
    is_flag=True,
    help="Make each check wrong in turn, and demand that a test notices.",
)
@fleet_options()
def test(call: FleetCall, paths: Sequence[Path], library: str | None, *, mutate: bool) -> None:
    """Run the tests that policies carry: of files, or else of the policies in force."""
    tested = _tested(call, paths, library)
    outcomes = [outcome for policy, _ in tested for outcome in run_tests(policy)]
    wrong = [outcome for outcome in outcomes if not outcome.passed]
    untested = [policy.id for policy, _ in tested if not policy.tests]
    data: dict[str, Any] = {
        "policies": len(tested),
        "tests": [_test_json(outcome) for outcome in outcomes],
        "untested": untested,
    }
    found = None
    mutation = None
    if wrong:
        message = f"{len(wrong)} of {len(outcomes)} tests gave another state than expected"
        found = FleetError("policy_tests_failed", message)
    elif mutate:
        mutation = _mutate(call, tested)
        data["mutation"] = mutation.as_json()
        found = mutation.failure()
    call.emit(
        data,
        lambda: chain(_test_text(outcomes, untested), mutation.text() if mutation else ()),
        found=found,
    )


def _mutate(call: FleetCall, tested: Sequence[tuple[CompliancePolicy, str]]) -> Mutation:
    with call.progress("policies mutated", len(tested)) as progress:
        return mutate_policies(tested, progress)


def _tested(
    call: FleetCall, paths: Sequence[Path], library: str | None
) -> list[tuple[CompliancePolicy, str]]:
    """The policies to test, each with the name of what it stands in."""
    if paths or library is not None:
        files = _files(paths, library)
        all_policies(files)
        return [(policy, file.name) for file in files for policy in file.policies]
    with call.open_store() as store:
        return [(policy, policy.id) for policy in store.policies()]


def _test_json(outcome: TestOutcome) -> dict[str, Any]:
    return {
        "policy_id": outcome.policy.id,
        "test": outcome.test.name,
        "expected": outcome.test.expect.value,
        "actual": outcome.verdict.status.value,
        "passed": outcome.passed,
        "reasons": [f"{each.key}: {each.reason}" for each in outcome.verdict.findings],
    }


def _test_text(outcomes: Sequence[TestOutcome], untested: Sequence[str]) -> Iterator[str]:
    for outcome in outcomes:
        if not outcome.passed:
            found = _test_json(outcome)
            why = "; ".join(found["reasons"])
            yield (
                show_text(
                    f"{found['policy_id']}: {found['test']!r} gave {found['actual']}, "
                    f"expected {found['expected']}" + (f" ({why})" if why else "")
                )
                + "\n"
            )
    for policy_id in untested:
        yield f"{policy_id}: no tests\n"
    right = sum(outcome.passed for outcome in outcomes)
    yield f"{right} of {len(outcomes)} tests as expected\n"
