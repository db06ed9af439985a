"""What people sign for: waivers (this risk is accepted until) and attestations (I vouch until).

Pure. Both name a policy and devices, who answers for it, and when it ends; the devices are frozen
when the statement is made, so that a machine that gets a tag later is not covered unseen.
Rule for editors: `as_json` is what the ledger's leaf hashes; add members, never change one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from fleetmdm.governance.scope import Scope
from fleetmdm.rfc3339 import encode_time


class Answer(StrEnum):
    """What an attestation says of the policy."""

    PASS = "pass"  # noqa: S105 - an answer, not a secret
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Revocation:
    """A statement that was taken back."""

    revoked_at: datetime
    revoked_by: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Who, when and why."""
        return {
            "revoked_at": encode_time(self.revoked_at),
            "revoked_by": self.revoked_by,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Waiver:
    """An accepted risk. It holds from `approved_at` up to, not including, `expires_at`."""

    id: str
    policy_id: str
    scope: Scope
    device_ids: frozenset[str]
    """The devices that the scope meant at approval."""
    reason: str
    risk_owner: str
    approver: str
    approved_at: datetime
    expires: date
    """The last day, in `zone`."""
    zone: str
    """A name of the IANA time zone database."""
    expires_at: datetime
    """The end of that day."""
    compensating_control: str = ""
    revocation: Revocation | None = None

    @property
    def begins_at(self) -> datetime:
        """From when it holds."""
        return self.approved_at

    @property
    def ends_at(self) -> datetime:
        """From when it no longer holds."""
        return self.expires_at

    def as_json(self) -> dict[str, Any]:
        """What was approved, without what became of it."""
        return {
            "waiver_id": self.id,
            "policy_id": self.policy_id,
            "scope": self.scope.as_json(),
            "device_ids": sorted(self.device_ids),
            "reason": self.reason,
            "risk_owner": self.risk_owner,
            "approver": self.approver,
            "approved_at": encode_time(self.approved_at),
            "expires": self.expires.isoformat(),
            "zone": self.zone,
            "expires_at": encode_time(self.expires_at),
            "compensating_control": self.compensating_control,
        }


@dataclass(frozen=True, slots=True)
class Attestation:
    """An answer that no fact can give. It holds from `attested_at` up to `stale_at`."""

    id: str
    policy_id: str
    scope: Scope
    device_ids: frozenset[str]
    """The devices that the scope meant when it was said."""
    answer: Answer
    statement: str
    attested_by: str
    attested_at: datetime
    stale_at: datetime
    revocation: Revocation | None = None

    @property
    def begins_at(self) -> datetime:
        """From when it holds."""
        return self.attested_at

    @property
    def ends_at(self) -> datetime:
        """From when it no longer holds."""
        return self.stale_at

    def as_json(self) -> dict[str, Any]:
        """What was attested, without what became of it."""
        return {
            "attestation_id": self.id,
            "policy_id": self.policy_id,
            "scope": self.scope.as_json(),
            "device_ids": sorted(self.device_ids),
            "answer": self.answer.value,
            "statement": self.statement,
            "attested_by": self.attested_by,
            "attested_at": encode_time(self.attested_at),
            "stale_at": encode_time(self.stale_at),
        }


Statement = Waiver | Attestation
