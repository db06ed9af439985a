"""The records of a pack: which fields each has, and which of them a redaction opens. Pure.

A device appears in every file as `device`, its pseudonym; its own names are fields beside it.
Rule for editors: the fields of a record must not depend on the redaction, only their openness may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from fleetmdm.device import Device
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.names import HISTORY, INVENTORY, POPULATION, RESULTS, TRANSITIONS
from fleetmdm.evidence.records.cells import CellBook, Cells
from fleetmdm.evidence.records.commit import Cell, RecordEncoder, Written, make_cell
from fleetmdm.evidence.records.layout import read_leaves
from fleetmdm.evidence.redact import (
    Profile,
    Redaction,
    fact_path,
    identifiers_in,
    leaking_text,
    may_quote,
)
from fleetmdm.governance.effective import JudgedRow
from fleetmdm.results import Finding, ResultRow, Status, Transition
from fleetmdm.rfc3339 import encode_time

IN_SCOPE: Final = "in_scope"
RETIRED: Final = "retired"
NOT_IN_FLEET: Final = "not_in_fleet"
"""What population.ndjson says of the scope of each device."""

ABSENT: Final = "none"
"""How a pair without a row is written: it passes, does not apply, or was not known."""

MAX_FINDINGS: Final = 4096
"""Findings, and what stands before them, that are remembered at a time: few say what no other says."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_findings: Final = msgspec.json.Decoder(tuple[Finding, ...]).decode
_time = lru_cache(maxsize=1024)(encode_time)


class Said(NamedTuple):
    """One verdict as its record says it; small, since it is sent to other processes."""

    device_id: str
    head: tuple[Any, ...]
    """The values of `_RESULT_HEAD`."""
    findings: bytes
    """JSON."""
    names: frozenset[str]
    """Of the device, which no field may give away (`guarded_names`)."""


def say(judged: JudgedRow, names: frozenset[str]) -> Said:
    """What is recorded of a verdict."""
    row = judged.row
    return Said(row.device_id, _result_head(judged), _encode(row.findings), names)


class RecordMaker:
    """Makes the records of one run's pack under one redaction."""

    def __init__(self, keys: FleetKeys, salt_key: bytes, redaction: Redaction) -> None:
        self.keys = keys
        self.redaction = redaction
        self._book = CellBook(keys, redaction)
        self._encoder = RecordEncoder(salt_key)
        self._heads: dict[tuple[Any, ...], Cells] = {}
        self._findings: dict[bytes, Cells] = {}
        self._known: dict[tuple[int, bytes], Cells] = {}
        place = self._book.place
        self._device, self._device_id = place("device"), place("device_id")
        self._seen = place("last_seen")
        self._last: tuple[str, Cells] | None = None
        self._head = tuple([place(path) for path in _RESULT_HEAD])

    def device(
        self, document: bytes, last_seen: str, *, reason: str, listed: bool | None = None
    ) -> tuple[Written, Written]:
        """Two records: that a device was in scope and why, and the document that was judged.

        The document is as `encode_facts` writes it; `listed` says whether an outside list has it.
        """
        places, values = read_leaves(self._book, document)
        leaves = [
            place.known.get(raw) or place.learn(raw)
            for place, raw in zip(places, values, strict=True)
        ]
        device_id: str = _decode(values[0])
        mark = self._device.once(self.keys.pseudonym("device", device_id))
        seen = self._seen.once(last_seen)
        names = identifiers_in(
            _decode(raw) for place, raw in zip(places, values, strict=True) if place.guards
        )
        place = self._book.place
        # After the facts come hostname, os, os_version, serial, and last the tags.
        who: list[Cell] = [
            *chain(mark, leaves[0], *leaves[-5:-1], seen),
            *place("scope").cells(IN_SCOPE),
        ]
        who += place("reason").cells(reason)
        if listed is not None:
            who += place("on_outside_list").cells(listed)
        what: list[Cell] = list(chain(mark, seen, *leaves))
        return (
            self._encode(POPULATION, device_id, cells=who),
            self._encode(INVENTORY, device_id, cells=quiet(what, names)),
        )

    def outsider(self, name: str, *, scope: str, reason: str) -> Written:
        """That something was not in scope, and why; `name` is all that is known of it."""
        cells = self._cells([("device_id", name), ("scope", scope), ("reason", reason)])
        return self._encode(POPULATION, name, scope, cells=[*self._subject(name)[:1], *cells])

    def result(self, said: Said) -> Written:
        """One verdict."""
        head = self._heads.get(said.head)
        if head is None:
            pairs = zip(self._head, said.head, strict=True)
            head = tuple(chain.from_iterable(at.cells(value) for at, value in pairs))
            _hold(self._heads, said.head, head)
        cells = [*self._subject(said.device_id), *head, *self._found(said.findings)]
        return self._encode(RESULTS, said.device_id, said.head[0], cells=quiet(cells, said.names))

    def transition(self, row: Transition, guarded: frozenset[str]) -> Written:
        """One verdict that changed since the run before."""
        pairs = [
            ("policy_id", row.policy_id),
            ("before", _status(row.before)),
            ("after", _status(row.after)),
        ]
        cells = [*self._subject(row.device_id), *self._cells(pairs)]
        cells += self._found(_encode(row.findings))
        return self._encode(TRANSITIONS, row.device_id, row.policy_id, cells=quiet(cells, guarded))

    def history(self, row: ResultRow, since: datetime | None, until: datetime | None) -> Written:
        """Over which runs a verdict stood; the moments are those that its runs judged by."""
        pairs = [
            ("policy_id", row.policy_id),
            ("status", row.status.value),
            ("since_run", row.since_run),
            ("since", None if since is None else _time(since)),
            ("until_run", row.until_run),
            ("until", None if until is None else _time(until)),
        ]
        cells = [*self._subject(row.device_id), *self._cells(pairs)]
        identity = (row.device_id, row.policy_id, str(row.since_run))
        return self._encode(HISTORY, *identity, cells=cells)

    def decision(self, file: str, identity: str, pairs: Iterable[tuple[str, Any]]) -> Written:
        """What people decided: an assignment, a waiver, an attestation."""
        return self._encode(file, identity, cells=self._cells(pairs))

    def _encode(self, file: str, *identity: str, cells: Sequence[Cell]) -> Written:
        return self._encoder.encode(cells, "\0".join((file, *identity)))

    def _subject(self, device_id: str) -> Cells:
        """Records of one device stand together."""
        if self._last is None or self._last[0] != device_id:
            mark = self.keys.pseudonym("device", device_id)
            self._last = device_id, self._device.once(mark) + self._device_id.once(device_id)
        return self._last[1]

    def _cells(self, pairs: Iterable[tuple[str, Any]]) -> list[Cell]:
        place = self._book.place
        cells: list[Cell] = []
        for path, value in pairs:
            cells += place(path).cells(value)
        return cells

    def _found(self, findings: bytes) -> Cells:
        """The cells of all that was found, by its bytes."""
        cells = self._findings.get(findings)
        if cells is None:
            listed = enumerate(_decode_findings(findings))
            cells = tuple(chain.from_iterable(self._finding(*each) for each in listed))
            _hold(self._findings, findings, cells)
        return cells

    def _finding(self, index: int, finding: Finding) -> Cells:
        """What the policy wanted shows; what was seen shows where its fact would."""
        key = (index, _encode(finding))
        cells = self._known.get(key)
        if cells is None:
            cells = self._make_finding(index, finding)
            _hold(self._known, key, cells)
        return cells

    def _make_finding(self, index: int, finding: Finding) -> Cells:
        path, fact, profile = f"finding[{index}]", fact_path(finding.key), self.redaction.profile
        says = may_quote(self.redaction.classify(fact), profile)
        text = leaking_text("", finding.message) if says and profile is not Profile.NONE else ""
        return (
            make_cell(path, _rule(finding), is_open=True),
            *self._book.place(f"{path}.observed", fact).cells(finding.observed),
            make_cell(f"{path}.message", finding.message, is_open=says, text=text),
        )


def _hold(where: dict[Any, Any], key: Any, value: Any) -> None:
    if len(where) >= MAX_FINDINGS:
        where.clear()
    where[key] = value


def quiet(cells: Sequence[Cell], names: Iterable[str]) -> Sequence[Cell]:
    """The cells, those that would give one of the names away shut."""
    # One look at all texts: nearly always nothing is found.
    shown = "\n".join([cell[5] for cell in cells if cell[5]])
    found = [name for name in names if name in shown]
    if not found:
        return cells
    return [
        cell._replace(is_open=False) if any(name in cell.text for name in found) else cell
        for cell in cells
    ]


def result_pairs(judged: JudgedRow) -> Iterator[tuple[str, Any]]:
    """Every field of a result but the pseudonym, as (path, value): what judging again must give."""
    yield "device_id", judged.row.device_id
    yield from zip(_RESULT_HEAD, _result_head(judged), strict=True)
    for index, finding in enumerate(judged.row.findings):
        path = f"finding[{index}]"
        yield path, _rule(finding)
        yield f"{path}.observed", finding.observed
        yield f"{path}.message", finding.message


_RESULT_HEAD: Final = (
    *("policy_id", "status", "since_run", "effective", "effective_reason"),
    *("effective_until", "failing_since"),
)


def _result_head(judged: JudgedRow) -> tuple[Any, ...]:
    """The values of `_RESULT_HEAD`."""
    row, now = judged.row, judged.effective
    since = judged.failing_since
    return (
        row.policy_id,
        row.status.value,
        row.since_run,
        now.status.value,
        now.reason,
        None if now.valid_until is None else _time(now.valid_until),
        None if since is None else _time(since),
    )


def _rule(finding: Finding) -> dict[str, Any]:
    """What the policy wanted, without what was seen."""
    return {
        "check": finding.check,
        "key": finding.key,
        "op": finding.op,
        "expected": finding.expected,
        "reason": finding.reason,
    }


def guarded_names(device: Device) -> frozenset[str]:
    """The names of a device that no other field may give away."""
    return identifiers_in(iter((device.device_id, device.hostname, device.serial)))


class _Named(msgspec.Struct):
    """What `guarded_names` looks at, of a document in bytes."""

    device_id: str
    hostname: str
    serial: str | None


_decode_names: Final = msgspec.json.Decoder(_Named).decode


def names_in(document: bytes) -> tuple[str, str, str | None]:
    """Device id, host name and serial number of a document as `encode_facts` writes it."""
    named = _decode_names(document)
    return named.device_id, named.hostname, named.serial


def _status(status: Status | None) -> str:
    return ABSENT if status is None else status.value
