"""The files of a pack, written from the store; `seal` closes it.

Rule for editors: each file is read from the store once and written once, and nothing here depends
on the signers but the files that name them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from fleetmdm.device import DocumentBatch
from fleetmdm.errors import FleetError
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.names import (
    ALLOWED_SIGNERS,
    ASSIGNMENTS,
    ATTESTATIONS,
    CONTROLS,
    DRIFT,
    HISTORY,
    INVENTORY,
    METADATA,
    POLICIES,
    POPULATION,
    README,
    RECONCILIATION,
    RESULTS,
    RUN,
    TRANSITIONS,
    WAIVERS,
)
from fleetmdm.evidence.pack import documents
from fleetmdm.evidence.pack.controls import encode_controls
from fleetmdm.evidence.pack.folder import PackFolder, RecordWriter
from fleetmdm.evidence.pack.guarded import GuardedNames
from fleetmdm.evidence.pack.outside import OutsideList
from fleetmdm.evidence.pack.readme import render_readme
from fleetmdm.evidence.pack.reconcile import Tally, reconcile
from fleetmdm.evidence.records.batches import (
    BATCH_DEVICES,
    BATCH_ROWS,
    DeviceBatch,
    MadeDevices,
    RowBatch,
    Unwritable,
    in_batches,
    make_together,
)
from fleetmdm.evidence.records.commit import Block
from fleetmdm.evidence.records.decisions import (
    assignment_key,
    assignment_pairs,
    attestation_pairs,
    waiver_pairs,
)
from fleetmdm.evidence.records.maker import (
    ABSENT,
    NOT_IN_FLEET,
    RETIRED,
    RecordMaker,
    names_in,
    say,
)
from fleetmdm.evidence.redact import Redaction, identifiers_in
from fleetmdm.evidence.sign import allowed_signers_line, principal_of
from fleetmdm.governance.effective import Differences, JudgedRow
from fleetmdm.ledger.entries import parse_leaf
from fleetmdm.ledger.merkle import leaf_hash
from fleetmdm.ledger.proof import RunProof, prove_run
from fleetmdm.ledger.roots import RunInventory, policy_set_hash
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Run
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.port import FleetStore
from fleetmdm.store.standing import RunStanding
from sshwire.sshsig import Signer


class PackContents:
    """The parts of one export that its steps share."""

    def __init__(
        self,
        store: FleetStore,
        run: Run,
        redaction: Redaction,
        outside: OutsideList | None = None,
        history_limit: int = 0,
        workers: int = 0,
    ) -> None:
        self.store = store
        self.run = run
        self.outside = outside
        self.history_limit = history_limit
        self.tally = Tally()
        self.policies: list[CompliancePolicy] = []
        self.differences: Mapping[str, Differences] = {}
        self.keys = FleetKeys(store.fleet_key())
        self.origin = self.keys.origin()
        self.proof = self._prove()
        salt_key = self.keys.salt_key(leaf_hash(self.proof.leaf))
        self.maker = RecordMaker(self.keys, salt_key, redaction)
        self.crew = make_together(self.maker, run.roots, store.fleet_key(), salt_key, workers)

    def write(
        self,
        folder: PackFolder,
        signers: Sequence[Signer],
        *,
        advance: Callable[[int], None],
    ) -> None:
        """Every file that the manifest lists but those that were asked for, and `describe`."""
        self._write_devices(folder, advance)
        self._write_policies(folder)
        standing = RunStanding(self.store, self.run, self.policies)
        self._write_results(folder, standing)
        self._write_decisions(folder)
        self._write_transitions(folder)
        self._write_history(folder)
        folder.add_whole(RECONCILIATION, documents.encode_json(reconcile(self.run, self.tally)))
        self.differences = standing.differences()
        controls = encode_controls(self.policies, self.run, self.differences)
        folder.add_whole(CONTROLS, controls)
        self._write_fixed(folder, signers)

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

    def _write_devices(self, folder: PackFolder, advance: Callable[[int], None]) -> None:
        reason = f"judged by run {self.run.run_id}"
        judged = RunInventory(self.run.roots, self.store.fleet_key())
        tasks = (DeviceBatch(reason, *batch) for batch in self._documents())
        with folder.records(POPULATION) as population, folder.records(INVENTORY) as inventory:
            for made in self.crew.do(tasks):
                if isinstance(made, Unwritable):
                    message = f"device {made.device_id} cannot be recorded: {made.problem}"
                    raise FleetError("inventory_invalid", message)
                if isinstance(made, MadeDevices):
                    population.add_block(made.population)
                    inventory.add_block(made.inventory)
                    judged.add(made.leaves)
                    advance(len(made.leaves))
            self._write_outsiders(population)
        self._require(INVENTORY, judged.root().hex(), self.run.inventory_root)
        self.tally.intake = self.store.run_intake(self.run.run_id)

    def _documents(self) -> Iterator[tuple[DocumentBatch, tuple[bool, ...] | None]]:
        """Every device that the run judged and whether an outside list has it, counted."""
        outside = self.outside
        for batch in self.store.run_documents(self.run.run_id, BATCH_DEVICES):
            listed = None
            if outside is not None:
                listed = tuple([outside.meets(*names_in(one)) for one in batch.facts])
            self.tally.devices += len(batch)
            self.tally.on_list += sum(listed or ())
            yield DocumentBatch(batch.device_ids, batch.facts, batch.last_seen), listed

    def _write_outsiders(self, population: RecordWriter) -> None:
        """Who is not in scope: those who left, and those on the outside list alone."""
        tally = self.tally
        for each in self.store.run_retired(self.run.run_id):
            reason = f"retired at {encode_time(each.retired_at)}"
            population.add(self.maker.outsider(each.device_id, scope=RETIRED, reason=reason))
            tally.retired += 1
            if self.outside is not None:
                tally.retired_on_list += self.outside.meets(each.device_id)
        if self.outside is None:
            return
        reason = "on the outside list, and unknown to the fleet"
        missing = self.outside.missing()
        for name in missing:
            population.add(self.maker.outsider(name, scope=NOT_IN_FLEET, reason=reason))
        tally.listed, tally.missing = len(self.outside), len(missing)

    def _write_policies(self, folder: PackFolder) -> None:
        sources = dict(self.store.run_policies(self.run.run_id))
        names = documents.name_policies(sources)
        for policy_id, source in sources.items():
            folder.add_whole(names[policy_id], source)
        self.policies = list(self.store.policies_of_run(self.run.run_id))
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

    def _write_results(self, folder: PackFolder, standing: RunStanding) -> None:
        names = GuardedNames(self._names())
        judged = standing.judge(self.store.results(self.run.run_id))
        rows = (say(one, names.of(one.row.device_id)) for one in self._counted(judged))
        tasks = (RowBatch(batch) for batch in in_batches(rows, BATCH_ROWS))
        with folder.records(RESULTS) as results:
            for made in self.crew.do(tasks):
                if isinstance(made, Block):
                    results.add_block(made)

    def _counted(self, rows: Iterable[JudgedRow]) -> Iterator[JudgedRow]:
        for one in rows:
            self.tally.add_row(one.row.policy_id, one.row.status)
            yield one

    def _write_decisions(self, folder: PackFolder) -> None:
        """What people decided, as the run knew it."""
        run_id, decide = self.run.run_id, self.maker.decision
        with folder.records(ASSIGNMENTS) as file:
            for one in self.store.run_assignments(run_id):
                pairs = assignment_pairs(one, self.keys)
                file.add(decide(ASSIGNMENTS, assignment_key(one), pairs))
        with folder.records(WAIVERS) as file:
            for waiver in self.store.run_waivers(run_id):
                file.add(decide(WAIVERS, waiver.id, waiver_pairs(waiver, self.keys)))
        with folder.records(ATTESTATIONS) as file:
            for said in self.store.run_attestations(run_id):
                file.add(decide(ATTESTATIONS, said.id, attestation_pairs(said, self.keys)))

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

    def _write_history(self, folder: PackFolder) -> None:
        """Over which runs verdicts stood; what came after this run is not in its pack."""
        if not self.history_limit:
            return
        run_id, moments = self.run.run_id, self.store.run_moments()
        known = (run.run_id for run in self.store.runs() if run.run_id <= run_id)
        first = min(islice(known, self.history_limit))
        with folder.records(HISTORY) as history:
            for row in self.store.intervals(first_run=first, last_run=run_id):
                ended = row.until_run is not None and row.until_run <= run_id
                until = moments.get(row.until_run) if ended and row.until_run else None
                stood = row if ended else replace(row, until_run=None)
                history.add(self.maker.history(stood, moments.get(row.since_run), until))

    def _names(self) -> Iterator[tuple[str, frozenset[str]]]:
        for batch in self.store.run_documents(self.run.run_id, BATCH_DEVICES):
            for document in batch.facts:
                names = names_in(document)
                yield names[0], identifiers_in(iter(names))

    def _run_before(self) -> Run | None:
        earlier = (run for run in self.store.runs() if run.run_id < self.run.run_id)
        return next(earlier, None)

    def describe(self, folder: PackFolder, tool_version: str) -> None:
        """After everything else that the manifest lists: what it all is."""
        data = documents.encode_metadata(
            tool_version=tool_version, origin=self.origin, files=list(folder.entries)
        )
        folder.add_whole(METADATA, data)

    def _write_fixed(self, folder: PackFolder, signers: Sequence[Signer]) -> None:
        keys = [signer.public_key for signer in signers]
        lines = [allowed_signers_line(key, principal_of(key, documents.PRINCIPAL)) for key in keys]
        for name, data in {
            RUN: documents.encode_run(self.run),
            ALLOWED_SIGNERS: "".join(lines).encode(),
            README: render_readme(keys),
            **documents.encode_log(self.proof),
        }.items():
            folder.add_whole(name, data)
