"""Judge a pack again: its policies over its inventory must give the bytes of its results.

Each recomputed row is written with the salts of the pack's own line, so that what is compared are
bytes. A view that withholds what a policy looks at cannot be judged, and is refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import compile_policies, run_programs
from fleetmdm.evaluate.fact_path import EACH, FactPath, render_path
from fleetmdm.evaluate.program import Program, fold, program_leaves
from fleetmdm.evidence.examine.sound import SoundPack
from fleetmdm.evidence.names import (
    ASSIGNMENTS,
    ATTESTATIONS,
    INVENTORY,
    POLICIES,
    RESULTS,
    RUN,
    WAIVERS,
)
from fleetmdm.evidence.records.decisions import parse_assignment, parse_attestation, parse_waiver
from fleetmdm.evidence.records.flatten import unflatten
from fleetmdm.evidence.records.maker import result_pairs
from fleetmdm.evidence.records.reading import Record, RecordError, parse_record, rewrite_record
from fleetmdm.evidence.redact import fact_path
from fleetmdm.governance.assign import Selections
from fleetmdm.governance.effective import JudgedRow
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import SILENT, ResultRow, Verdict
from fleetmdm.rfc3339 import parse_time
from fleetmdm.store.selections import load_selections
from fleetmdm.store.standing import Governed, by_policy

Decision = TypeVar("Decision")

BATCH_DEVICES = 1000
MAX_DIFFERENCES = 100
"""Differences that are listed; all are counted."""


@dataclass(slots=True)
class Replayed:
    """What judging again gave."""

    devices: int = 0
    policies: int = 0
    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    results_sha256: str = ""
    differences: list[str] = field(default_factory=list)
    differing: int = 0

    def differ(self, text: str) -> None:
        """Note one difference."""
        self.differing += 1
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(text)


def replay_pack(pack: SoundPack) -> Replayed:
    """Judge everything again; raises `replay_needs_hidden_fields`."""
    sources = sorted(name for name in pack.manifest.files if name.startswith(f"{POLICIES}/"))
    policies = [parse_policy(pack.read(name), name=name) for name in sources]
    run = pack.document(RUN)
    named = _asks_for_ids(policies)
    governed = _governed(pack, policies, run, named=named)
    selections = _selections(pack, run, named=named)
    programs = compile_policies(sorted(policies, key=lambda policy: policy.id), selections)
    replayed = Replayed(policies=len(programs))
    written = hashlib.sha256()
    lines = _Lines(pack.lines(RESULTS))
    judging = _Judging(programs, governed.as_of, named=named)
    for device, verdicts in judging.judge(pack, replayed):
        mark = str(device.fields["device"])
        again = [_Again(verdict, device, governed) for verdict in verdicts]
        _compare(mark, again, lines.take(mark), written, replayed)
    for _ in lines.rest():
        replayed.differ("a result of a device that is not in the inventory, or out of order")
    replayed.results_sha256 = written.hexdigest()
    said = {name: count for name, count in run["counts"].items() if count}
    if said != dict(replayed.counts):
        replayed.differ(f"{RUN} counts {said}, judging again gives {dict(replayed.counts)}")
    return replayed


def _asks_for_ids(policies: Sequence[CompliancePolicy]) -> bool:
    """Whether a policy looks at the device's id, so that a pseudonym cannot stand for it."""
    programs = compile_policies(policies)
    leaves = (leaf for program in programs for leaf in program_leaves(program))
    return any(leaf.path.steps[0] == "device_id" for leaf in leaves)


@dataclass(frozen=True, slots=True)
class _Judging:
    """What every batch of devices is judged by; `named` devices go by their own ids."""

    programs: Sequence[Program]
    as_of: datetime
    named: bool

    def judge(self, pack: SoundPack, replayed: Replayed) -> Iterator[tuple[Record, list[Verdict]]]:
        """(the device's record, its verdicts by policy), in the order of the inventory."""
        records = (parse_record(line) for line in pack.lines(INVENTORY))
        while batch := list(islice(records, BATCH_DEVICES)):
            devices = [self._device(record) for record in batch]
            replayed.devices += len(batch)
            verdicts = iter(run_programs(devices, self.programs, self.as_of))
            for record in batch:
                yield record, list(islice(verdicts, len(self.programs)))

    def _device(self, record: Record) -> Device:
        """The document behind a record, as far as the programs look at it."""
        fields = record.fields
        if record.hidden:
            missing = _missing(record, self.programs)
            if missing:
                raise _hidden(missing, fields["device"])
        facts = [(path, value) for path, value in fields.items() if _is_fact(path)]
        return Device(
            device_id=fields["device_id" if self.named else "device"],
            hostname=fields.get("hostname", ""),
            os=fields.get("os", ""),
            os_version=fields.get("os_version", ""),
            serial=fields.get("serial"),
            last_seen=parse_time(fields["last_seen"]),
            facts=unflatten(facts) if facts else {},
            tags=tuple(fields.get("tags", ())),
        )


@dataclass(frozen=True, slots=True)
class _Again:
    """One verdict, given again."""

    verdict: Verdict
    device: Record
    governed: Governed

    def write(self, line: bytes) -> bytes:
        """The line that an export would have written for this verdict."""
        record = parse_record(line)
        verdict, fields = self.verdict, record.fields
        row = ResultRow(
            device_id=fields.get("device_id", verdict.device_id),
            policy_id=verdict.policy_id,
            status=verdict.status,
            findings=verdict.findings,
            since_run=fields["since_run"],
            until_run=None,
        )
        # When problems began only earlier runs know; the pack's word is taken for it.
        said = fields["failing_since"]
        began = None if said is None else parse_time(said)
        pair = (verdict.device_id, verdict.policy_id)
        seen = parse_time(self.device.fields["last_seen"])
        effective = self.governed.effective(pair, verdict.status, seen, began)
        judged = JudgedRow(row, effective, began)
        values = {"device": fields["device"], **dict(result_pairs(judged))}
        if len(values) != len(fields) + record.hidden:
            raise RecordError("the result has other findings")
        return rewrite_record(line, values)


def _compare(
    mark: str,
    verdicts: Sequence[_Again],
    lines: Sequence[bytes],
    written: hashlib._Hash,
    replayed: Replayed,
) -> None:
    replayed.counts.update(each.verdict.status.value for each in verdicts)
    loud = [each for each in verdicts if each.verdict.status not in SILENT]
    replayed.rows += len(loud)
    if len(loud) != len(lines):
        replayed.differ(f"{mark}: {len(lines)} results in the pack, {len(loud)} again")
    for each, line in zip(loud, lines, strict=False):
        try:
            again = each.write(line)
        except RecordError as error:
            replayed.differ(f"{mark}, {each.verdict.policy_id}: {error}")
            continue
        written.update(again)
        if again != line:
            replayed.differ(f"{mark}, {each.verdict.policy_id}: the result is another")


def _selections(pack: SoundPack, run: Mapping[str, Any], *, named: bool) -> Selections | None:
    """Where the policies were assigned."""
    only_assigned = run["settings"]["only_assigned"]
    assignments = list(_decisions(pack, ASSIGNMENTS, partial(parse_assignment, named=named)))
    return load_selections(assignments, only_assigned=only_assigned)


def _governed(
    pack: SoundPack,
    policies: Sequence[CompliancePolicy],
    run: Mapping[str, Any],
    *,
    named: bool,
) -> Governed:
    """What people decided, as the pack tells it."""
    return Governed(
        policies={policy.id: policy for policy in policies},
        waivers=by_policy(_decisions(pack, WAIVERS, partial(parse_waiver, named=named))),
        attestations=by_policy(
            _decisions(pack, ATTESTATIONS, partial(parse_attestation, named=named))
        ),
        stale_after=timedelta(seconds=run["settings"]["stale_after_s"]),
        as_of=parse_time(run["as_of"]),
    )


def _decisions(
    pack: SoundPack, name: str, parse: Callable[[Mapping[str, Any]], Decision]
) -> Iterator[Decision]:
    for line in pack.lines(name):
        try:
            yield parse(parse_record(line).fields)
        except KeyError as error:
            raise _hidden(str(error.args[0]), name) from error


def _hidden(field_name: str, where: str) -> FleetError:
    return FleetError(
        "replay_needs_hidden_fields",
        f"the view withholds what judging needs, such as {field_name} of {where}",
        hint="replay a view that shows it, such as one with profile none",
        details={"field": field_name, "where": where},
    )


class _Lines:
    """The lines of results.ndjson, taken device by device."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._next = next(lines, None)

    def take(self, mark: str) -> list[bytes]:
        """The lines of a device, which stand together."""
        taken: list[bytes] = []
        while self._next is not None and parse_record(self._next).fields.get("device") == mark:
            taken.append(self._next)
            self._next = next(self._lines, None)
        return taken

    def rest(self) -> Iterator[bytes]:
        """The lines that no device took."""
        while self._next is not None:
            yield self._next
            self._next = next(self._lines, None)


def _is_fact(path: str) -> bool:
    return path == "facts" or path.startswith(("facts.", "facts["))


def _missing(record: Record, programs: Sequence[Program]) -> str:
    """A field that a policy for this device looks at and that does not show; empty if none.

    What is withheld has no name, so a fact that does not show may be absent or hidden: then it
    counts as hidden.
    """
    fields = record.fields
    for program in programs:
        if program.os and "os" in fields and fold(fields["os"]) not in program.os:
            continue
        needed = [*_needed(program)]
        for path in needed:
            if path not in fields:
                return path
    return ""


def _needed(program: Program) -> Iterator[str]:
    yield "last_seen"
    if program.os:
        yield "os"
    if program.tags or (program.selected is not None and program.selected.tags):
        yield "tags"
    for leaf in program_leaves(program):
        yield fact_path(_plain(leaf.path))


def _plain(path: FactPath) -> str:
    """A path as records spell it; one with `[*]` is never among their fields."""
    return path.text if EACH in path.steps else render_path(path.steps)
