"""The records of a pack: which fields each has, and which of them a profile opens. Pure.

A device appears in every file as `device`, its pseudonym; its own names are fields beside it.
Rule for editors: the fields of a record must not depend on the profile, only their openness may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleetmdm.device import Device
from fleetmdm.evidence.commit import Field, Record, encode_record
from fleetmdm.evidence.flatten import flatten
from fleetmdm.evidence.keys import FleetKeys, record_key
from fleetmdm.evidence.names import INVENTORY, POPULATION, RESULTS, TRANSITIONS
from fleetmdm.evidence.redact import (
    GUARDED_KINDS,
    Class,
    Profile,
    Treatment,
    classify,
    fact_path,
    fits,
    identifiers_in,
    is_open,
    is_pseudonym_open,
    leaks,
)
from fleetmdm.governance.effective import JudgedRow
from fleetmdm.results import Finding, Status, Transition
from fleetmdm.rfc3339 import encode_time

IN_SCOPE = "in_scope"
RETIRED = "retired"
NOT_IN_FLEET = "not_in_fleet"
"""What population.ndjson says of the scope of each device."""

ABSENT = "none"
"""How a pair without a row is written: it passes, does not apply, or was not known."""


@dataclass(frozen=True, slots=True)
class RecordMaker:
    """Makes the records of one run's pack under one profile."""

    keys: FleetKeys
    salt_key: bytes
    profile: Profile

    def population(self, device: Device, *, reason: str, listed: bool | None = None) -> Record:
        """That a device was in scope, and why; `listed` says whether an outside list has it."""
        pairs: list[tuple[str, Any]] = [
            ("device_id", device.device_id),
            ("hostname", device.hostname),
            ("serial", device.serial),
            ("os", device.os),
            ("os_version", device.os_version),
            ("last_seen", encode_time(device.last_seen)),
            ("scope", IN_SCOPE),
            ("reason", reason),
        ]
        if listed is not None:
            pairs.append(("on_outside_list", listed))
        return self._record(POPULATION, device.device_id, pairs)

    def outsider(self, name: str, *, scope: str, reason: str) -> Record:
        """That something was not in scope, and why; `name` is all that is known of it."""
        pairs = [("device_id", name), ("scope", scope), ("reason", reason)]
        return self._record(POPULATION, name, pairs, scope)

    def inventory(self, device: Device) -> Record:
        """The document that was judged, every leaf of its facts a field."""
        pairs = [
            ("device_id", device.device_id),
            ("hostname", device.hostname),
            ("serial", device.serial),
            ("os", device.os),
            ("os_version", device.os_version),
            ("last_seen", encode_time(device.last_seen)),
            ("tags", list(device.tags)),
            *flatten("facts", device.facts),
        ]
        return self._record(INVENTORY, device.device_id, pairs)

    def result(self, judged: JudgedRow, guarded: frozenset[str]) -> Record:
        """One verdict; `guarded` are the device's own identifiers (`guarded_names`)."""
        row = judged.row
        fields = [
            *self._subject(row.device_id),
            *(
                Field(path, value, is_open(classify(path), self.profile))
                for path, value in _result_head(judged)
            ),
            *self._findings(row.findings, guarded),
        ]
        return encode_record(fields, key=self._key(RESULTS, row.device_id, row.policy_id))

    def transition(self, row: Transition, guarded: frozenset[str]) -> Record:
        """One verdict that changed since the run before."""
        fields = [
            *self._subject(row.device_id),
            Field("policy_id", row.policy_id, is_open=True),
            Field("before", _status(row.before), is_open=True),
            Field("after", _status(row.after), is_open=True),
            *self._findings(row.findings, guarded),
        ]
        return encode_record(fields, key=self._key(TRANSITIONS, row.device_id, row.policy_id))

    def _key(self, file: str, *identity: str) -> bytes:
        return record_key(self.salt_key, file, *identity)

    def _subject(self, device_id: str) -> list[Field]:
        shown = is_open(classify("device_id"), self.profile)
        return [
            Field("device", self.keys.pseudonym("device", device_id), is_open=True),
            Field("device_id", device_id, is_open=shown),
        ]

    def decision(self, file: str, identity: str, pairs: Iterable[tuple[str, Any]]) -> Record:
        """What people decided: an assignment, a waiver, an attestation."""
        fields: list[Field] = []
        for path, value in pairs:
            treatment = classify(path)
            fields.append(Field(path, value, is_open(treatment, self.profile)))
            if treatment.kind == "user":
                fields.extend(self._stand_in(path, value, treatment))
        return encode_record(fields, key=self._key(file, identity))

    def _record(
        self, file: str, device_id: str, pairs: Sequence[tuple[str, Any]], *identity: str
    ) -> Record:
        treated = [(path, value, classify(path)) for path, value in pairs]
        guarded = identifiers_in(
            value for _, value, treatment in treated if treatment.kind in GUARDED_KINDS
        )
        fields = [Field("device", self.keys.pseudonym("device", device_id), is_open=True)]
        for path, value, treatment in treated:
            fields.append(Field(path, value, self._opens(path, value, treatment, guarded)))
            fields.extend(self._stand_in(path, value, treatment))
        return encode_record(fields, key=self._key(file, device_id, *identity))

    def _opens(self, path: str, value: Any, treatment: Treatment, guarded: frozenset[str]) -> bool:
        if not is_open(treatment, self.profile):
            return False
        if self.profile is Profile.NONE or not path.startswith("facts"):
            return True
        if self.profile is Profile.STRICT and not fits(value, treatment.shape):
            return False
        return not leaks([path, value], guarded)

    def _stand_in(self, path: str, value: Any, treatment: Treatment) -> Iterable[Field]:
        """The pseudonym of an identifier, as a field of its own; `device` is that of the id."""
        if treatment.cls is not Class.IDENTIFIER or path == "device_id":
            return
        name = self._pseudonym(treatment.kind, value)
        if name is not None:
            shown = is_pseudonym_open(treatment, self.profile)
            yield Field(f"pseudonym.{path}", name, is_open=shown)

    def _pseudonym(self, kind: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._pseudonym(kind, member) for member in value]
        if isinstance(value, str) and value:
            return self.keys.pseudonym(kind, value)
        return None

    def _findings(self, findings: Sequence[Finding], guarded: frozenset[str]) -> Iterator[Field]:
        """What the policy wanted shows; what was seen shows where its fact would."""
        for index, finding in enumerate(findings):
            path = f"finding[{index}]"
            yield Field(path, _rule(finding), is_open=True)
            fact = fact_path(finding.key)
            shown = self._opens("facts", finding.observed, classify(fact), guarded)
            yield Field(f"{path}.observed", finding.observed, shown)
            # A message may quote what was seen.
            quiet = self.profile is not Profile.STRICT and not leaks(finding.message, guarded)
            yield Field(f"{path}.message", finding.message, self.profile is Profile.NONE or quiet)


def result_pairs(judged: JudgedRow) -> Iterator[tuple[str, Any]]:
    """Every field of a result but the pseudonym, as (path, value): what judging again must give."""
    yield "device_id", judged.row.device_id
    yield from _result_head(judged)
    for index, finding in enumerate(judged.row.findings):
        path = f"finding[{index}]"
        yield path, _rule(finding)
        yield f"{path}.observed", finding.observed
        yield f"{path}.message", finding.message


def _result_head(judged: JudgedRow) -> tuple[tuple[str, Any], ...]:
    row, now = judged.row, judged.effective
    return (
        ("policy_id", row.policy_id),
        ("status", row.status.value),
        ("since_run", row.since_run),
        ("effective", now.status.value),
        ("effective_reason", now.reason),
        ("effective_until", None if now.valid_until is None else encode_time(now.valid_until)),
        (
            "failing_since",
            None if judged.failing_since is None else encode_time(judged.failing_since),
        ),
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


def _status(status: Status | None) -> str:
    return ABSENT if status is None else status.value
