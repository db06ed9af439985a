"""Judge a pack again: its policies over its inventory must give the bytes of its results.

Each recomputed row is written with the salts of the pack's own line, so that what is compared are
bytes. A view that withholds what a policy looks at cannot be judged, and is refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.evaluate import compile_policies, run_programs
from fleetmdm.evaluate.fact_path import EACH, FactPath, render_path
from fleetmdm.evaluate.program import Program, fold, program_leaves
from fleetmdm.evidence.commit import Record, RecordError, parse_record, rewrite_record
from fleetmdm.evidence.examine.sound import SoundPack
from fleetmdm.evidence.flatten import unflatten
from fleetmdm.evidence.names import INVENTORY, POLICIES, RESULTS, RUN
from fleetmdm.evidence.records import result_pairs
from fleetmdm.evidence.redact import fact_path
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import SILENT, ResultRow, Verdict
from fleetmdm.rfc3339 import parse_time

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
    programs = compile_policies(sorted(policies, key=lambda policy: policy.id))
    run = pack.document(RUN)
    replayed = Replayed(policies=len(programs))
    written = hashlib.sha256()
    lines = _Lines(pack.lines(RESULTS))
    for device_mark, verdicts in _judge(pack, programs, parse_time(run["as_of"]), replayed):
        _compare(device_mark, verdicts, lines.take(device_mark), written, replayed)
    for _ in lines.rest():
        replayed.differ("a result of a device that is not in the inventory, or out of order")
    replayed.results_sha256 = written.hexdigest()
    said = {name: count for name, count in run["counts"].items() if count}
    if said != dict(replayed.counts):
        replayed.differ(f"{RUN} counts {said}, judging again gives {dict(replayed.counts)}")
    return replayed


def _judge(
    pack: SoundPack, programs: Sequence[Program], as_of: datetime, replayed: Replayed
) -> Iterator[tuple[str, list[Verdict]]]:
    """(the device's pseudonym, its verdicts by policy), in the order of the inventory."""
    records = (parse_record(line) for line in pack.lines(INVENTORY))
    while batch := list(islice(records, BATCH_DEVICES)):
        devices = [_device(record, programs) for record in batch]
        replayed.devices += len(batch)
        verdicts = iter(run_programs(devices, programs, as_of))
        for record in batch:
            yield str(record.fields["device"]), list(islice(verdicts, len(programs)))


def _compare(
    mark: str,
    verdicts: Sequence[Verdict],
    lines: Sequence[bytes],
    written: hashlib._Hash,
    replayed: Replayed,
) -> None:
    replayed.counts.update(verdict.status.value for verdict in verdicts)
    loud = [verdict for verdict in verdicts if verdict.status not in SILENT]
    replayed.rows += len(loud)
    if len(loud) != len(lines):
        replayed.differ(f"{mark}: {len(lines)} results in the pack, {len(loud)} again")
    for verdict, line in zip(loud, lines, strict=False):
        try:
            again = _write_again(verdict, line)
        except RecordError as error:
            replayed.differ(f"{mark}, {verdict.policy_id}: {error}")
            continue
        written.update(again)
        if again != line:
            replayed.differ(f"{mark}, {verdict.policy_id}: the result is another")


def _write_again(verdict: Verdict, line: bytes) -> bytes:
    """The line that an export would have written for this verdict."""
    record = parse_record(line)
    row = ResultRow(
        device_id=record.fields.get("device_id", verdict.device_id),
        policy_id=verdict.policy_id,
        status=verdict.status,
        findings=verdict.findings,
        since_run=record.fields["since_run"],
        until_run=None,
    )
    values = {"device": record.fields["device"], **dict(result_pairs(row))}
    if len(values) != len(record.fields) + record.hidden:
        raise RecordError("the result has other findings")
    return rewrite_record(line, values)


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


def _device(record: Record, programs: Sequence[Program]) -> Device:
    """The document behind a record, as far as the programs look at it."""
    fields = record.fields
    if record.hidden:
        missing = _missing(record, programs)
        if missing:
            raise FleetError(
                "replay_needs_hidden_fields",
                f"the view withholds what the policies look at, such as {missing}",
                hint="replay a view that shows it, such as one with profile none",
                details={"field": missing, "device": fields["device"]},
            )
    facts = [(path, value) for path, value in fields.items() if _is_fact(path)]
    return Device(
        device_id=fields.get("device_id", fields["device"]),
        hostname=fields.get("hostname", ""),
        os=fields.get("os", ""),
        os_version=fields.get("os_version", ""),
        serial=fields.get("serial"),
        last_seen=parse_time(fields["last_seen"]),
        facts=unflatten(facts) if facts else {},
        tags=tuple(fields.get("tags", ())),
    )


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
    if program.tags:
        yield "tags"
    for leaf in program_leaves(program):
        yield fact_path(_plain(leaf.path))


def _plain(path: FactPath) -> str:
    """A path as records spell it; one with `[*]` is never among their fields."""
    return path.text if EACH in path.steps else render_path(path.steps)
