"""`fleetmdm evidence verify`: check a pack against the verifier's own allowed signers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clikit.table import show_text
from fleetmdm.cli.evidence.redact import describe_rules
from fleetmdm.cli.evidence.trusting import load_trust, trust_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.rfc3339 import encode_time

if TYPE_CHECKING:
    # Imported for their names alone.
    from fleetmdm.evidence.verify import PackFinding, PackReport

MAX_SHOWN_FINDINGS = 50
"""Findings that are told on a terminal; JSON has them all."""

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("pack", type=_PATH)
@trust_options
@click.option(
    "--require-signers",
    "required",
    type=click.IntRange(min=1),
    metavar="N",
    help="Be content with N trusted signers [all whom the manifest names].",
)
@click.option(
    "--since", "older", type=_PATH, metavar="PACK", help="An older pack: the log must continue it."
)
@click.option("--strict", is_flag=True, help="Take warnings for findings.")
@fleet_options(("table", "json", "sarif"))
def command(
    call: FleetCall,
    pack: Path,
    required: int | None,
    older: Path | None,
    *,
    strict: bool,
    **trust: Any,
) -> None:
    """Check every byte and signature of the evidence PACK, a folder or a .tar.zst file.

    Exits 1 with everything that is wrong. Without --allowed-signers and --signer the rest is
    checked, and the lack of anyone to trust is itself a finding.
    """
    from dataclasses import replace

    from fleetmdm.evidence.verify import verify_pack

    judged = replace(load_trust(call, **trust), required=required)
    if required is not None and judged.allowed is None:
        raise click.UsageError("--require-signers needs --allowed-signers and --signer")
    report = verify_pack(pack, judged, older=older)
    if strict:
        report.findings.extend(report.warnings)
        report.warnings.clear()
    if call.format == "sarif":
        from fleetmdm.cli.evidence.sarif import render_report

        text = render_report(pack, report, tool_version=version("secretivex-fleetmdm"))
        call.emit_chunks([text], found=_failure(report))
        return
    call.emit(_describe(pack, report), lambda: _tell(pack, report), found=_failure(report))


def _failure(report: PackReport) -> FleetError | None:
    if not report.findings:
        return None
    codes = sorted({finding.code for finding in report.findings})
    return FleetError(
        "evidence_invalid",
        f"the pack does not verify: {', '.join(codes)}",
        details={"findings": len(report.findings), "codes": codes},
    )


def _describe(pack: Path, report: PackReport) -> dict[str, Any]:
    return {
        "pack": str(pack),
        "valid": not report.findings,
        "run_id": report.run_id,
        "as_of": report.as_of,
        "redaction_profile": report.profile,
        "redaction_rules": describe_rules(report.rules),
        "derived_view": report.derived,
        "manifest_sha256": report.manifest_sha256,
        "files": report.files,
        "signatures": [
            {
                "fingerprint": each.fingerprint,
                "principal": each.principal,
                "over": each.subject,
                "proven_at": None if each.proven_at is None else encode_time(each.proven_at),
            }
            for each in report.signatures
        ],
        "records": {
            name: {"opened": shown.opened, "hidden": shown.hidden}
            for name, shown in sorted(report.shown.items())
        },
        "continues": None
        if report.continues is None
        else {
            "older_size": report.continues.older_size,
            "size": report.continues.size,
            "consistency_proof": list(report.continues.proof),
        },
        "agent_audit": None
        if report.agent_audit is None
        else {
            "records": report.agent_audit.records,
            "seals": report.agent_audit.seals,
            "unsealed": report.agent_audit.unsealed,
            "head": report.agent_audit.head,
            "signed_heads": report.agent_audit.signed_heads,
            "signers": report.agent_audit.signers,
            "macs_checked": False,
        },
        "findings": [_row(each) for each in report.findings],
        "warnings": [_row(each) for each in report.warnings],
    }


def _row(finding: PackFinding) -> dict[str, str]:
    return {"code": finding.code, "file": finding.file, "message": finding.message}


def _tell(pack: Path, report: PackReport) -> Iterator[str]:
    for finding in report.findings[:MAX_SHOWN_FINDINGS]:
        yield _line(finding)
    if len(report.findings) > MAX_SHOWN_FINDINGS:
        yield f"... and {len(report.findings) - MAX_SHOWN_FINDINGS} more (--format json)\n"
    yield from (f"warning: {_line(each)}" for each in report.warnings[:MAX_SHOWN_FINDINGS])
    if report.findings:
        return
    run = show_text(f"run {report.run_id} as of {report.as_of}")
    yield f"{show_text(str(pack))} verifies: {run}, {report.files} files\n"
    for each in report.signatures:
        when = "" if each.proven_at is None else f", by {encode_time(each.proven_at)}"
        text = f"  {each.subject} signed by {each.principal}, {each.fingerprint}{when}"
        yield show_text(text) + "\n"
    if report.continues is not None:
        sizes = f"{report.continues.older_size} leaves, now {report.continues.size}"
        yield f"  the log continues that of the older pack: {sizes}\n"
    if report.agent_audit is not None:
        audit = report.agent_audit
        yield (
            f"  the agent's log: {audit.records} records under {audit.seals} seals and"
            f" {audit.signed_heads} signed heads, the chain holds; its MACs need the chain's first"
            " key (secretive-client verify-audit)\n"
        )
        yield from (f"  a chain of it is signed from {mark} on\n" for mark in audit.signers)
    opened = sum(shown.opened for shown in report.shown.values())
    hidden = sum(shown.hidden for shown in report.shown.values())
    yield f"  profile {report.profile}: {opened} fields shown, {hidden} withheld\n"
    for effect, rules in describe_rules(report.rules).items():
        yield from (show_text(f"  rules {effect} {rule}") + "\n" for rule in rules)


def _line(finding: PackFinding) -> str:
    where = f"{finding.file}: " if finding.file else ""
    return show_text(f"{finding.code}: {where}{finding.message}") + "\n"
