"""`fleetmdm evidence verify`: check a pack against the verifier's own allowed signers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clikit.table import show_text
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone.
    from fleetmdm.evidence.verify import PackReport
    from sshwire.allowed_signers import AllowedSigners

MAX_SHOWN_FINDINGS = 50
"""Findings that are told on a terminal; JSON has them all."""


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--allowed-signers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whom you trust, as ssh-keygen -Y verify takes it.",
)
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="PRINCIPAL",
    help="The name in FILE by which the pack must be signed; may be repeated.",
)
@fleet_options()
def command(
    call: FleetCall, pack: Path, allowed_signers: Path | None, signers: tuple[str, ...]
) -> None:
    """Check every byte and signature of the evidence pack in folder PACK.

    Exits 1 with everything that is wrong. Without --allowed-signers and --signer the rest is
    checked, and the lack of anyone to trust is itself a finding.
    """
    from fleetmdm.evidence.verify import Trust, verify_pack

    if (allowed_signers is None) != (not signers):
        raise click.UsageError("--allowed-signers FILE and --signer PRINCIPAL go together")
    allowed = None if allowed_signers is None else _load_trust(allowed_signers)
    report = verify_pack(pack, Trust(allowed, signers, call.now()))
    call.emit(_describe(pack, report), lambda: _tell(pack, report), found=_failure(report))


def _load_trust(path: Path) -> AllowedSigners:
    from sshwire.allowed_signers import parse_allowed_signers
    from sshwire.errors import WireError

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such file of allowed signers: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError("trust_invalid", f"cannot read {path}: {error}") from error
    try:
        # ssh-keygen(1): a time without Z is in the system's zone.
        allowed = parse_allowed_signers(text, localize=lambda stamp: stamp.astimezone())
    except WireError as error:
        raise FleetError("trust_invalid", f"{path}: {error}", hint="see ssh-keygen(1)") from error
    return allowed


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
        "redaction_profile": report.profile,
        "derived_view": report.derived,
        "manifest_sha256": report.manifest_sha256,
        "files": report.files,
        "signatures": [
            {"fingerprint": each.fingerprint, "principal": each.principal, "over": each.subject}
            for each in report.signatures
        ],
        "records": {
            name: {"opened": shown.opened, "hidden": shown.hidden}
            for name, shown in sorted(report.shown.items())
        },
        "findings": [
            {"code": each.code, "file": each.file, "message": each.message}
            for each in report.findings
        ],
    }


def _tell(pack: Path, report: PackReport) -> Iterator[str]:
    for finding in report.findings[:MAX_SHOWN_FINDINGS]:
        where = f"{finding.file}: " if finding.file else ""
        yield show_text(f"{finding.code}: {where}{finding.message}") + "\n"
    if len(report.findings) > MAX_SHOWN_FINDINGS:
        yield f"... and {len(report.findings) - MAX_SHOWN_FINDINGS} more (--format json)\n"
    if report.findings:
        return
    yield f"{show_text(str(pack))} verifies: run {report.run_id}, {report.files} files\n"
    for each in report.signatures:
        yield show_text(f"  {each.subject} signed by {each.principal}, {each.fingerprint}") + "\n"
    opened = sum(shown.opened for shown in report.shown.values())
    hidden = sum(shown.hidden for shown in report.shown.values())
    yield f"  profile {report.profile}: {opened} fields shown, {hidden} withheld\n"
