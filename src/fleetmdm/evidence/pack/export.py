"""Export one run as an evidence pack: read the store once, write, sign, record.

Everything but the signatures is fixed by the run and the options. Memory does not grow with the
fleet. Rule for editors: the export's own leaf goes to the ledger last, when the pack is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clikit.crew import spare_cores
from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive.write import pack_target
from fleetmdm.evidence.names import AGENT_AUDIT, OSCAL
from fleetmdm.evidence.pack.contents import PackContents
from fleetmdm.evidence.pack.folder import PackFolder
from fleetmdm.evidence.pack.outside import OutsideList
from fleetmdm.evidence.pack.seal import seal
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.rules import NO_RULES, Rules
from fleetmdm.evidence.sign import expected_signer
from fleetmdm.governance.effective import Differences
from fleetmdm.ledger.entries import encode_export_leaf
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Run
from fleetmdm.store.port import FleetStore
from sshwire.sshsig import Signer

RenderOscal = Callable[[Run, Sequence[CompliancePolicy], Mapping[str, Differences]], bytes]

LEAST_DEVICES = 5000
"""With fewer, this process is done before another has begun."""

Advance = Callable[[int], None]
"""Told how many devices were written since the last call."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the caller chose. `now` is only written to the ledger, never into the pack."""

    output: Path
    profile: Profile
    signers: Sequence[Signer]
    tool_version: str
    now: datetime
    outside: OutsideList | None = None
    """Devices that somebody else says there are."""
    agent_audit: bytes = b""
    """A segment of the SSH agent's audit log, checked."""
    oscal: RenderOscal | None = None
    """Renders assessment results, which must name no device."""
    history_limit: int = 0
    """Runs of which the pack tells over which of them verdicts stood; 0 is none."""
    workers: int | None = None
    """Processes that make records beside this one; None is as many as pay."""
    rules: Rules = NO_RULES
    """Facts that show, or do not, whatever the profile says."""

    @property
    def redaction(self) -> Redaction:
        """All that decides what the pack shows."""
        return Redaction(self.profile, self.rules)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    output: Path
    run_id: int
    profile: Profile
    manifest_sha256: str
    signers: tuple[str, ...]
    devices: int
    policies: int
    results: int
    ledger_index: int


def newest_run(store: FleetStore) -> Run:
    """The newest run of the fleet; raises `run_not_found`."""
    for run in store.runs(limit=1):
        return run
    raise FleetError("run_not_found", "there is no run yet", hint="run `fleetmdm check` first")


def _leaf(run: Run, manifest_sha256: str, marks: Sequence[str], options: ExportOptions) -> bytes:
    return encode_export_leaf(
        run_id=run.run_id,
        manifest_sha256=manifest_sha256,
        profile=options.profile.value,
        signers=marks,
        exported_at=options.now,
        tool_version=options.tool_version,
    )


def _write_options(folder: PackFolder, contents: PackContents, options: ExportOptions) -> None:
    if options.agent_audit:
        folder.add_whole(AGENT_AUDIT, options.agent_audit)
    if options.oscal is not None:
        data = options.oscal(contents.run, contents.policies, contents.differences)
        folder.add_whole(OSCAL, data)
    contents.describe(folder, options.tool_version)


def export_pack(
    store: FleetStore, run: Run, options: ExportOptions, advance: Advance = lambda _count: None
) -> Exported:
    """Write the pack of a run. Raises `FleetError`, and `AgentError` from a signer."""
    signers = sorted(options.signers, key=lambda each: expected_signer(each).fingerprint)
    marks = tuple(expected_signer(signer).fingerprint for signer in signers)
    workers = spare_cores() if run.devices >= LEAST_DEVICES else 0
    contents = PackContents(
        *(store, run, options.redaction, options.outside, options.history_limit),
        workers=workers if options.workers is None else options.workers,
    )
    with contents.crew, pack_target(options.output) as (root, finish):
        folder = PackFolder(root)
        contents.write(folder, signers, advance=advance)
        _write_options(folder, contents, options)
        manifest_sha256 = seal(
            folder,
            contents,
            signers,
            redaction=options.redaction,
            tool_version=options.tool_version,
            now=options.now,
        )
        finish()
        index = store.append_leaf(_leaf(run, manifest_sha256, marks, options))
    return Exported(
        output=options.output,
        run_id=run.run_id,
        profile=options.profile,
        manifest_sha256=manifest_sha256,
        signers=marks,
        devices=contents.tally.devices,
        policies=contents.tally.policies,
        results=sum(contents.tally.rows.values()),
        ledger_index=index,
    )
