"""Export one run as an evidence pack: read the store once, write, sign, record.

Everything but the signatures is fixed by the run and the options. Memory does not grow with the
fleet. Rule for editors: the export's own leaf goes to the ledger last, when the pack is complete.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetmdm.errors import FleetError
from fleetmdm.evidence.commit import RecordError
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.manifest import Manifest, encode_manifest
from fleetmdm.evidence.names import (
    ALLOWED_SIGNERS,
    ASSIGNMENTS,
    CONTROLS,
    DRIFT,
    INVENTORY,
    MANIFEST,
    METADATA,
    POLICIES,
    POPULATION,
    README,
    RECONCILIATION,
    RESULTS,
    RUN,
    SUMS,
    TRANSITIONS,
    VIEW,
    WAIVERS,
)
from fleetmdm.evidence.pack import documents
from fleetmdm.evidence.pack.folder import PackFolder, atomic_folder
from fleetmdm.evidence.pack.guarded import GuardedNames
from fleetmdm.evidence.pack.readme import render_readme
from fleetmdm.evidence.pack.reconcile import Tally, reconcile
from fleetmdm.evidence.records import ABSENT, RecordMaker, guarded_names
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.sign import (
    FORMS,
    SUBJECTS,
    allowed_signers_line,
    expected_signer,
    principal_of,
    sign_form,
    sign_subject,
    signature_name,
)
from fleetmdm.evidence.view import View, encode_sums, encode_view
from fleetmdm.ledger.checkpoint import encode_checkpoint
from fleetmdm.ledger.entries import encode_export_leaf, parse_leaf
from fleetmdm.ledger.merkle import leaf_hash
from fleetmdm.ledger.proof import RunProof, prove_run
from fleetmdm.ledger.roots import RunInventory, policy_set_hash
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Run
from fleetmdm.store.port import FleetStore
from sshwire.sshsig import Signer

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


def export_pack(
    store: FleetStore, run: Run, options: ExportOptions, advance: Advance = lambda _count: None
) -> Exported:
    """Write the pack of a run. Raises `FleetError`, and `AgentError` from a signer."""
    writer = _Export(store, run, options, advance)
    with atomic_folder(options.output) as root:
        writer.write(PackFolder(root))
        index = store.append_leaf(
            encode_export_leaf(
                run_id=run.run_id,
                manifest_sha256=writer.manifest_sha256,
                profile=options.profile.value,
                signers=writer.fingerprints,
                exported_at=options.now,
                tool_version=options.tool_version,
            )
        )
    return Exported(
        output=options.output,
        run_id=run.run_id,
        profile=options.profile,
        manifest_sha256=writer.manifest_sha256,
        signers=tuple(writer.fingerprints),
        devices=writer.tally.devices,
        policies=writer.tally.policies,
        results=sum(writer.tally.rows.values()),
        ledger_index=index,
    )


class _Export:
    """The parts of one export that its steps share."""

    def __init__(
        self, store: FleetStore, run: Run, options: ExportOptions, advance: Advance
    ) -> None:
        self.store = store
        self.run = run
        self.options = options
        self.advance = advance
        self.tally = Tally()
        self.signers = sorted(options.signers, key=lambda each: expected_signer(each).fingerprint)
        self.fingerprints = [expected_signer(signer).fingerprint for signer in self.signers]
        self.manifest_sha256 = ""
        keys = FleetKeys(store.fleet_key())
        self.origin = keys.origin()
        self.proof = self._prove()
        salt_key = keys.salt_key(leaf_hash(self.proof.leaf))
        self.maker = RecordMaker(keys, salt_key, options.profile)

    def write(self, folder: PackFolder) -> None:
        """Every file, the signatures last."""
        self._write_devices(folder)
        self._write_policies(folder)
        self._write_results(folder)
        self._write_transitions(folder)
        folder.add_whole(RECONCILIATION, documents.encode_json(reconcile(self.run, self.tally)))
        folder.add_whole(CONTROLS, documents.encode_controls(self.policies, self.tally))
        self._write_fixed(folder)
        self._seal(folder)

    def _prove(self) -> RunProof:
        index = self.store.leaf_of_run(self.run.run_id)
        proof = prove_run(self.store.leaves(), index, origin=self.origin)
        entry = parse_leaf(proof.leaf)
        if (entry["type"], entry.get("run_id")) != ("run", self.run.run_id):
            raise FleetError(
                "ledger_invalid",
                f"leaf {index} of the ledger is not that of run {self.run.run_id}",
                hint="run `fleetmdm ledger verify`",
            )
        return proof

    def _write_devices(self, folder: PackFolder) -> None:
        reason = f"judged by run {self.run.run_id}"
        judged = RunInventory(self.run.roots, self.store.fleet_key())
        with folder.records(POPULATION) as population, folder.records(INVENTORY) as inventory:
            for device in self.store.run_devices(self.run.run_id):
                try:
                    population.add(self.maker.population(device, reason=reason))
                    inventory.add(self.maker.inventory(device))
                except RecordError as error:
                    message = f"device {device.device_id} cannot be recorded: {error}"
                    raise FleetError("inventory_invalid", message) from error
                judged.add(device)
                self.tally.devices += 1
                self.advance(1)
        self._require(INVENTORY, judged.root().hex(), self.run.inventory_root)

    def _write_policies(self, folder: PackFolder) -> None:
        sources = dict(self.store.run_policies(self.run.run_id))
        names = documents.name_policies(sources)
        for policy_id, source in sources.items():
            folder.add_whole(names[policy_id], source)
        self.policies = [parse_policy(source, name=names[key]) for key, source in sources.items()]
        self.tally.policies = len(sources)
        self._require(POLICIES, policy_set_hash(sources.items()), self.run.policy_set_hash)

    def _require(self, what: str, found: str, committed: str) -> None:
        """What goes into the pack must be what the run committed to when it was recorded."""
        if found != committed:
            raise FleetError(
                "reconciliation_failed",
                f"{what} is not what run {self.run.run_id} judged: {found} against {committed}",
                hint="run `fleetmdm doctor --integrity-check`; nothing was exported",
            )

    def _write_results(self, folder: PackFolder) -> None:
        names = GuardedNames(self._names())
        with folder.records(RESULTS) as results:
            for row in self.store.results(self.run.run_id):
                results.add(self.maker.result(row, names.of(row.device_id)))
                self.tally.add_row(row.policy_id, row.status)

    def _write_transitions(self, folder: PackFolder) -> None:
        before = self._run_before()
        changes: Counter[tuple[str, str]] = Counter()
        population: Counter[str] = Counter()
        names = GuardedNames(self._names())
        with folder.records(TRANSITIONS) as transitions:
            if before is not None:
                for row in self.store.transitions(before.run_id, self.run.run_id):
                    transitions.add(self.maker.transition(row, names.of(row.device_id)))
                    changes[row.before or ABSENT, row.after or ABSENT] += 1
                for each in self.store.population_changes(before.run_id, self.run.run_id):
                    population[f"{each.kind}_{each.presence}"] += 1
        drift = documents.encode_drift(
            before=before, after=self.run, changes=changes, population=population
        )
        folder.add_whole(DRIFT, drift)

    def _names(self) -> Iterator[tuple[str, frozenset[str]]]:
        for device in self.store.run_devices(self.run.run_id):
            yield device.device_id, guarded_names(device)

    def _run_before(self) -> Run | None:
        earlier = (run for run in self.store.runs() if run.run_id < self.run.run_id)
        return next(earlier, None)

    def _write_fixed(self, folder: PackFolder) -> None:
        lines = [
            allowed_signers_line(key, principal_of(key, documents.PRINCIPAL))
            for key in (signer.public_key for signer in self.signers)
        ]
        version = self.options.tool_version
        for name, data in {
            METADATA: documents.encode_metadata(tool_version=version, origin=self.origin),
            RUN: documents.encode_run(self.run),
            ASSIGNMENTS: documents.encode_json({"schema": 1, "assignments": []}),
            WAIVERS: documents.encode_json({"schema": 1, "waivers": []}),
            ALLOWED_SIGNERS: "".join(lines).encode(),
            README: render_readme([signer.public_key for signer in self.signers]),
            **documents.encode_log(self.proof),
        }.items():
            folder.add_whole(name, data)

    def _seal(self, folder: PackFolder) -> None:
        """Manifest, view and sums, each over what was written before it; then the signatures."""
        manifest = encode_manifest(self._manifest(folder))
        self.manifest_sha256 = hashlib.sha256(manifest).hexdigest()
        folder.write(MANIFEST, manifest)
        view = View(self.manifest_sha256, self.options.profile, derived=False, records=folder.shown)
        folder.write(VIEW, encode_view(view))
        signed = {"manifest": manifest, "sums": encode_sums(folder.digests)}
        folder.write(SUMS, signed["sums"])
        (folder.root / "signatures").mkdir(mode=0o700)
        for signer in self.signers:
            for kind in SUBJECTS:
                signature = sign_subject(signer, signed[kind], now=self.options.now)
                folder.write(signature_name(expected_signer(signer).fingerprint, kind), signature)
            self._sign_forms(folder, signer, manifest)

    def _sign_forms(self, folder: PackFolder, signer: Signer, manifest: bytes) -> None:
        """What the key says beside SSHSIG, in the forms that the manifest announces."""
        checkpoint = encode_checkpoint(self.proof.checkpoint)
        expected = expected_signer(signer)
        for form in expected.forms:
            if form != "sshsig":
                (kind,) = FORMS[form]
                data = sign_form(
                    signer, form, manifest=manifest, checkpoint=checkpoint, origin=self.origin
                )
                folder.write(signature_name(expected.fingerprint, kind), data)

    def _manifest(self, folder: PackFolder) -> Manifest:
        checkpoint = self.proof.checkpoint
        return Manifest(
            tool_version=self.options.tool_version,
            run={
                "run_id": self.run.run_id,
                "finished_at": parse_leaf(self.proof.leaf)["finished_at"],
                "leaf": leaf_hash(self.proof.leaf).hex(),
            },
            ledger={
                "origin": checkpoint.origin,
                "size": checkpoint.size,
                "root": checkpoint.root.hex(),
            },
            signers=tuple(expected_signer(signer) for signer in self.signers),
            files=folder.entries,
        )
