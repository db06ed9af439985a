"""`fleetmdm policy add|list|show|remove`: the policies in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clikit.table import render_table, show_text
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.policy.files import all_policies, read_library, read_paths
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.policy import CompliancePolicy


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE|DIR]...")
@click.option("--library", metavar="NAME", help="A set of the library that ships, or `all`.")
@fleet_options()
def add(call: FleetCall, paths: Sequence[Path], library: str | None) -> None:
    """Add policies from files, folders or the library; all of them or none."""
    if not paths and library is None:
        raise FleetError("usage", "nothing to add", hint="name files, or --library all")
    files = [*read_paths(paths), *(read_library(library) if library is not None else ())]
    policies = all_policies(files)
    with call.open_store() as store:
        known = dict(store.policy_sources())
        store.put_policies(policies, now=call.now())
    data = {
        "added": [each.id for each in policies if each.id not in known],
        "replaced": [
            each.id for each in policies if known.get(each.id, each.source) != each.source
        ],
        "unchanged": [each.id for each in policies if known.get(each.id) == each.source],
    }
    call.emit(data, lambda: [", ".join(f"{len(ids)} {word}" for word, ids in data.items()) + "\n"])


@click.command("list")
@list_options
@fleet_options()
def list_policies(call: FleetCall, *, listing: Listing) -> None:
    """List the policies in force."""
    with call.open_store() as store:
        policies = listing.choose(call, store.policies(), _brief)
    headers = ("id", "severity", "enabled", "checks", "tests", "name")
    call.emit(
        {"policies": [_brief(policy) for policy in policies]},
        lambda: [
            render_table(
                headers,
                [
                    [*(str(_brief(policy)[key]) for key in headers[:-1]), policy.name]
                    for policy in policies
                ],
                width=call.width,
            )
        ],
    )


def _brief(policy: CompliancePolicy) -> dict[str, Any]:
    return {
        "id": policy.id,
        "name": policy.name,
        "severity": policy.severity.value,
        "enabled": policy.enabled,
        "checks": len(policy.check.members),
        "tests": len(policy.tests),
        "tags": list(policy.tags),
        "sha256": policy.sha256,
    }


@click.command()
@click.argument("policy_id", metavar="ID")
@fleet_options()
def show(call: FleetCall, policy_id: str) -> None:
    """Show one policy, as it was written."""
    with call.open_store() as store:
        found = store.policies([policy_id])
    if not found:
        raise FleetError(
            "policy_not_found",
            f"there is no policy {policy_id}",
            hint="see fleetmdm policy list",
            details={"policy_id": policy_id},
        )
    (policy,) = found
    text = policy.source.decode()
    references = [
        {"framework": each.framework, "control": each.control, "url": each.url}
        for each in policy.references
    ]
    data = {
        **_brief(policy),
        "description": policy.description,
        "rationale": policy.rationale,
        "remediation": policy.remediation,
        "references": references,
        "source": text,
    }
    call.emit(data, lambda: (f"{show_text(line)}\n" for line in text.splitlines()))


@click.command()
@click.argument("policy_id", metavar="ID")
@fleet_options()
def remove(call: FleetCall, policy_id: str) -> None:
    """Remove a policy; past runs keep it."""
    with call.open_store() as store:
        store.remove_policy(policy_id, now=call.now())
    call.emit({"removed": policy_id}, lambda: [f"removed {show_text(policy_id)}\n"])
