"""`fleetmdm evidence export`: one run as a folder of evidence, signed by a key of any agent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.evidence.redact import load_rules, redact_config_option
from fleetmdm.cli.evidence.signing import open_signers, signer_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone: `--help` needs no store.
    from fleetmdm.evidence.pack.export import Exported
    from fleetmdm.evidence.pack.outside import OutsideList
    from fleetmdm.evidence.redact import Profile
    from fleetmdm.evidence.rules import Rules
    from fleetmdm.governance.effective import Differences
    from fleetmdm.policy import CompliancePolicy
    from fleetmdm.results import Run


@click.command()
@click.option("--run", "run_id", type=click.IntRange(min=1), metavar="N", help="Run [the newest].")
@click.option(
    "--redact-profile",
    type=click.Choice(("none", "minimal", "strict")),
    help="What the pack shows [strict].",
)
@click.option(
    "--device-list",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Somebody else's list of devices to compare with: an id, serial or host name a line.",
)
@click.option(
    "--agent-audit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Put this audit log of the SSH agent beside the run; it is the same in every view.",
)
@redact_config_option
@click.option(
    "--history-limit",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Add over which of the newest N runs verdicts stood [0: none].",
)
@click.option("--oscal", is_flag=True, help="Add OSCAL assessment results, which name no device.")
@signer_options
@fleet_options(
    output=("PACK", "The folder, or the .tar.zst file, to write, complete or not at all.")
)
def command(
    call: FleetCall,
    run_id: int | None,
    device_list: Path | None,
    agent_audit: Path | None,
    *,
    history_limit: int,
    oscal: bool,
    **others: Any,
) -> None:
    """Write a run as an evidence pack: a new folder or .tar.zst file at --output, complete or not there at all.

    Without --agent-key or --signing-key-file the pack is unsigned and does not verify.
    """
    from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run

    output, call.output = call.output, None
    if output is None:
        raise click.UsageError("--output PACK is needed: the folder or .tar.zst file to write")
    profile, rules = _redaction(call, others.pop("redact_profile"), others.pop("redact_config"))
    with open_signers(call, **others) as signers, call.open_store() as store:
        options = ExportOptions(
            output=output,
            profile=profile,
            signers=signers,
            tool_version=version("secretivex-fleetmdm"),
            now=call.now(),
            outside=None if device_list is None else _load_outside(device_list),
            agent_audit=b"" if agent_audit is None else _load_audit(agent_audit),
            oscal=_render_oscal if oscal else None,
            history_limit=history_limit,
            rules=rules,
        )
        run = newest_run(store) if run_id is None else store.run(run_id)
        with call.progress("exporting devices", run.devices) as progress:
            exported = export_pack(store, run, options, progress.advance)
    if not signers:
        call.note("the pack is unsigned: nobody vouches for it (--agent-key signs)")
    call.emit(_describe(exported), lambda: _tell(exported))


def _redaction(call: FleetCall, profile: str | None, path: Path | None) -> tuple[Profile, Rules]:
    from fleetmdm.evidence.redact import Profile

    named = call.setting("evidence_export.redact_config")
    if path is None and named:
        path = Path(os.path.expandvars(named)).expanduser()
    return Profile(call.setting("evidence_export.redaction_profile", profile)), load_rules(path)


def _load_outside(path: Path) -> OutsideList:
    from fleetmdm.evidence.pack.outside import OutsideList

    try:
        with path.open(encoding="utf-8-sig") as file:
            return OutsideList(file)
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such list of devices: {path}") from error
    except (OSError, ValueError) as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error}") from error


def _load_audit(path: Path) -> bytes:
    """A log whose chain holds; raises `agent_audit_invalid`."""
    from fleetmdm.evidence.agent_audit import MAX_LOG_BYTES, check_segment

    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOG_BYTES + 1)
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such audit log: {path}") from error
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error
    segment = check_segment(BytesIO(data))
    if len(data) > MAX_LOG_BYTES:
        segment.problems.insert(0, f"longer than {MAX_LOG_BYTES} bytes")
    if segment.problems:
        raise FleetError(
            "agent_audit_invalid",
            f"{path}: {segment.problems[0]}",
            hint="secretive-client verify-audit says more",
            details={"problems": segment.problems[:20]},
        )
    return data


def _render_oscal(
    run: Run, policies: Sequence[CompliancePolicy], differences: Mapping[str, Differences]
) -> bytes:
    """Findings for each policy, without the observations that would name devices."""
    from fleetmdm.report.model import PolicyLine, Report
    from fleetmdm.report.to_oscal import render

    lines = [
        PolicyLine(policy, run.policy_counts.get(policy.id, {}), differences.get(policy.id, {}))
        for policy in policies
    ]
    return "".join(render(Report(run, lines, ()))).encode()


def _describe(exported: Exported) -> dict[str, Any]:
    return {
        "pack": str(exported.output),
        "run_id": exported.run_id,
        "redaction_profile": exported.profile.value,
        "manifest_sha256": exported.manifest_sha256,
        "signers": list(exported.signers),
        "devices": exported.devices,
        "policies": exported.policies,
        "results": exported.results,
        "ledger_index": exported.ledger_index,
    }


def _tell(exported: Exported) -> Iterator[str]:
    yield f"run {exported.run_id} exported to {exported.output}\n"
    yield (
        f"  {exported.devices} devices, {exported.policies} policies, {exported.results} results, "
        f"redaction profile {exported.profile}\n"
    )
    yield f"  manifest SHA-256 {exported.manifest_sha256}, ledger leaf {exported.ledger_index}\n"
    for fingerprint in exported.signers:
        yield f"  signed by {fingerprint}\n"
