"""The records of a pack: which fields each has, and which of them a redaction opens. Pure.

A device appears in every file as `device`, its pseudonym; its own names are fields beside it.
Rule for editors: the fields of a record must not depend on the redaction, only their openness may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from fleetmdm.device import Device
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.names import HISTORY, INVENTORY, POPULATION, RESULTS, TRANSITIONS
from fleetmdm.evidence.records.commit import RecordEncoder, Written, encode_value
from fleetmdm.evidence.records.device_forms import DeviceForms
from fleetmdm.evidence.records.layout import read_leaves
from fleetmdm.evidence.records.places import Part, Place, PlaceBook, join_parts, quiet
from fleetmdm.evidence.records.values import encode_text
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

MAX_FINDINGS: Final = 1024
"""Findings, and what stands before them, that are remembered at a time."""

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


class _Rule(NamedTuple):
    """What findings share that a policy wanted the same of."""

    part: Part
    observed: Place
    message: str
    quotes: bool
    """Whether the message may show."""


class RecordMaker:
    """Makes the records of one run's pack under one redaction."""

    def __init__(self, keys: FleetKeys, salt_key: bytes, redaction: Redaction) -> None:
        self.keys = keys
        self.redaction = redaction
        self._book = PlaceBook(keys, redaction)
        self._encoder = RecordEncoder(salt_key)
        self._forms = DeviceForms(self._book, self._encoder)
        self._heads: dict[tuple[Any, ...], Part] = {}
        self._findings: dict[bytes, Part] = {}
        self._rules: dict[tuple[int, bytes], _Rule] = {}
        self._last: tuple[str, Part] | None = None

    def device(
        self, document: bytes, last_seen: str, *, reason: str, listed: bool | None = None
    ) -> tuple[Written, Written]:
        """Two records: that a device was in scope and why, and the document that was judged.

        The document is as `encode_facts` writes it; `listed` says whether an outside list has it.
        """
        layout, raw, values = read_leaves(self._book, document)
        device_id: str = _decode(raw[0])
        first = encode_text(self.keys.pseudonym("device", device_id)), encode_text(last_seen)
        marks = [place.pseudonym(_decode(raw[at])) for at, place in layout.named]
        who, what = self._forms.choose(layout, raw, marks, is_listed=listed is not None)
        # After the facts come hostname, os, os_version, serial, and last the tags.
        own = [*first, values[0], *values[-5:-1], *filter(None, marks[-2:])]
        own += encode_value(IN_SCOPE), encode_text(reason)
        own += [] if listed is None else [encode_value(listed)]
        identity = f"\0{device_id}"
        return (
            self._encoder.encode(who, own, POPULATION + identity),
            self._encoder.encode(
                what, [*first, *values, *filter(None, marks)], INVENTORY + identity
            ),
        )

    def outsider(self, name: str, *, scope: str, reason: str) -> Written:
        """That something was not in scope, and why; `name` is all that is known of it."""
        mark = self.keys.pseudonym("device", name)
        pairs = [("device", mark), ("device_id", name), ("scope", scope), ("reason", reason)]
        return self._encode(POPULATION, name, scope, parts=[self._book.parts(pairs)])

    def result(self, said: Said) -> Written:
        """One verdict."""
        head = self._heads.get(said.head)
        if head is None:
            head = self._book.parts(zip(_RESULT_HEAD, said.head, strict=True))
            _hold(self._heads, said.head, head)
        parts = self._subject(said.device_id), head, self._found(said.findings)
        return self._encode(RESULTS, said.device_id, said.head[0], parts=parts, names=said.names)

    def transition(self, row: Transition, guarded: frozenset[str]) -> Written:
        """One verdict that changed since the run before."""
        pairs = [
            ("policy_id", row.policy_id),
            ("before", _status(row.before)),
            ("after", _status(row.after)),
        ]
        said = self._book.parts(pairs), self._found(_encode(row.findings))
        parts = self._subject(row.device_id), *said
        return self._encode(TRANSITIONS, row.device_id, row.policy_id, parts=parts, names=guarded)

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
        parts = self._subject(row.device_id), self._book.parts(pairs)
        return self._encode(HISTORY, row.device_id, row.policy_id, str(row.since_run), parts=parts)

    def decision(self, file: str, identity: str, pairs: Iterable[tuple[str, Any]]) -> Written:
        """What people decided: an assignment, a waiver, an attestation."""
        return self._encode(file, identity, parts=[self._book.parts(pairs)])

    def _encode(
        self, file: str, *identity: str, parts: Sequence[Part], names: Iterable[str] = ()
    ) -> Written:
        part = join_parts(parts)
        form = self._encoder.form(part.paths, quiet(part, names))
        return self._encoder.encode(form, part.values, "\0".join((file, *identity)))

    def _subject(self, device_id: str) -> Part:
        """Records of one device stand together."""
        if self._last is None or self._last[0] != device_id:
            mark = self.keys.pseudonym("device", device_id)
            self._last = device_id, self._book.parts([("device", mark), ("device_id", device_id)])
        return self._last[1]

    def _found(self, findings: bytes) -> Part:
        """All that was found, by its bytes."""
        part = self._findings.get(findings)
        if part is None:
            listed = enumerate(_decode_findings(findings))
            part = join_parts([self._finding(index, finding) for index, finding in listed])
            _hold(self._findings, findings, part)
        return part

    def _finding(self, index: int, finding: Finding) -> Part:
        """What the policy wanted shows; what was seen shows where its fact would."""
        wanted = _rule(finding)
        key = (index, _encode(wanted))
        rule = self._rules.get(key)
        if rule is None:
            rule = self._make_rule(f"finding[{index}]", wanted)
            _hold(self._rules, key, rule)
        told = rule.quotes and self.redaction.profile is not Profile.NONE
        text = leaking_text("", finding.message) if told else ""
        message = Part((rule.message,), (rule.quotes,), (encode_value(finding.message),), (text,))
        return join_parts((rule.part, rule.observed.part(finding.observed), message))

    def _make_rule(self, path: str, wanted: dict[str, Any]) -> _Rule:
        fact = fact_path(wanted["key"])
        quotes = may_quote(self.redaction.classify(fact), self.redaction.profile)
        part = Part((path,), (True,), (encode_value(wanted),), ("",))
        return _Rule(part, self._book.place(f"{path}.observed", fact), f"{path}.message", quotes)


def _hold(where: dict[Any, Any], key: Any, value: Any) -> None:
    if len(where) >= MAX_FINDINGS:
        where.clear()
    where[key] = value


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
